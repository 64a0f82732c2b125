"""Who may speak: identities, the founders' file, the roster, operator acts."""
