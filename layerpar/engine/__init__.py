"""What engines share: their contract, ordinary backpropagation, cuts, gathering, idling."""
