//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// ErrNoUser says that a user or group is not in the root file system's files.
var ErrNoUser = errors.New("no such user or group")

// LookupUser resolves user[:group], names or numbers, by /etc/passwd and /etc/group of
// a root file system; "" is root (Dockerfile reference, USER).
func LookupUser(root *os.File, spec string) (User, error) {
	passwd, err := openFile(root, "/etc/passwd")
	if err != nil {
		return User{}, err
	}
	defer passwd.Close()
	group, err := openFile(root, "/etc/group")
	if err != nil {
		return User{}, err
	}
	defer group.Close()
	if strings.HasPrefix(spec, "-") {
		return User{}, fmt.Errorf("%w: %q", ErrNoUser, spec)
	}
	u, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, passwd, group)
	if name, rest, _ := strings.Cut(spec, ":"); err != nil && name == "root" && rest == "" {
		// As in BuildKit, root needs no entry.
		u, err = &user.ExecUser{Home: "/"}, nil
	}
	if err != nil {
		return User{}, fmt.Errorf("%w: %q: %w", ErrNoUser, spec, err)
	}
	// Without its own group in the list a process could shed it (CVE-2022-2990).
	groups := append([]int{u.Gid}, slices.DeleteFunc(u.Sgids, func(g int) bool { return g == u.Gid })...)
	return User{UID: u.Uid, GID: u.Gid, Groups: groups, Home: u.Home}, nil
}

// LookupOwner resolves the owner of --chown: a user without a group is in the group of
// the same number or name (Dockerfile reference, COPY --chown).
func LookupOwner(root *os.File, spec string) (uid, gid int, err error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	if !hasGroup {
		if n, err := strconv.ParseUint(name, 10, 31); err == nil {
			return int(n), int(n), nil
		}
		u, err := LookupUser(root, name)
		return u.UID, u.GID, err
	}
	if name == "" {
		name = "0"
	}
	u, err := LookupUser(root, name+":"+group)
	return u.UID, u.GID, err
}

// LookupDirOwner is LookupOwner for the directories of WORKDIR, where a user or group
// that is not there is root, or the user's, as in BuildKit and Buildah; so is "".
func LookupDirOwner(root *os.File, spec string) (uid, gid int, err error) {
	if spec == "" {
		return 0, 0, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	if uid, gid, err = LookupOwner(root, spec); !errors.Is(err, ErrNoUser) {
		return uid, gid, err
	}
	if uid, gid, err = LookupOwner(root, name); errors.Is(err, ErrNoUser) {
		uid, gid, err = 0, 0, nil
	}
	if err == nil && hasGroup {
		_, its, groupErr := LookupOwner(root, "0:"+group)
		if groupErr == nil {
			gid = its
		} else if !errors.Is(groupErr, ErrNoUser) {
			err = groupErr
		}
	}
	return uid, gid, err
}

// openFile opens a regular file inside root; one that is missing reads as empty.
func openFile(root *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return os.Open(os.DevNull)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return f, nil
}
