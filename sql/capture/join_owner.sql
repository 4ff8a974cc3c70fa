GRANT {owner} TO CURRENT_USER{options};
