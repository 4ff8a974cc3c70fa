SET LOCAL ROLE {owner};
