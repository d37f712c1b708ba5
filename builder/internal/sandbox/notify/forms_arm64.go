//go:build linux

package notify

import "golang.org/x/sys/unix"

const nativeArch = unix.AUDIT_ARCH_AARCH64

// forms are the calls that are asked about.
var forms = []form{
	{unix.SYS_OPENAT, opening, 0, 1, 2, 0, none, none},
	{unix.SYS_NEWFSTATAT, status, 0, 1, 3, 0, 2, none},
	{unix.SYS_STATX, statusx, 0, 1, 2, 0, 4, 3},
	{unix.SYS_FACCESSAT, access, 0, 1, none, 0, 2, none},
	{unix.SYS_FACCESSAT2, access, 0, 1, 3, 0, 2, none},
	{unix.SYS_READLINKAT, reading, 0, 1, none, unix.AT_SYMLINK_NOFOLLOW, 2, 3},
	{unix.SYS_GETXATTR, attributes, none, 0, none, 0, none, none},
	{unix.SYS_LGETXATTR, attributes, none, 0, none, unix.AT_SYMLINK_NOFOLLOW, none, none},
	{unix.SYS_LISTXATTR, attributes, none, 0, none, 0, none, none},
	{unix.SYS_LLISTXATTR, attributes, none, 0, none, unix.AT_SYMLINK_NOFOLLOW, none, none},
	{unix.SYS_STATFS, fileSystem, none, 0, none, 0, 1, none},
	{unix.SYS_OPENAT2, opening2, 0, 1, 2, 0, none, 3},
}
