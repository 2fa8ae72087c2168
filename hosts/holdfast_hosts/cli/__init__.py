"""The command line `holdfast`: arguments in, tables or one JSON object out, exit codes that scripts can branch on."""
