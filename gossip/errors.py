"""Three kinds of wrong: theirs, ours, and the user's."""


class PeerError(Exception):
    """A peer broke the protocol. Ends that link or call; never the daemon.

    The only exception that bytes from outside may cause.
    """


class LocalError(Exception):
    """This node asked for something the protocol forbids. Ends the daemon."""


class UserError(Exception):
    """A person's mistake: one clear sentence that says where and what to do.

    Shown without a traceback. The message names the file, line or option.
    """
