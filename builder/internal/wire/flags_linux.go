package wire

import "golang.org/x/sys/unix"

// Flags that keep descriptors from programs that are started.
const closeOnExec, closeReceived = unix.SOCK_CLOEXEC, unix.MSG_CMSG_CLOEXEC
