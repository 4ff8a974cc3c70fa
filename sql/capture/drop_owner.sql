DROP ROLE {owner};
