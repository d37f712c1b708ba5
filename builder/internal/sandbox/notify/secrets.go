//go:build linux && (amd64 || arm64)

package notify

import (
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// secretAt gives the secret at a path of the command's root, if there is one.
func (t *thread) secretAt(r *request, name string) (*Secret, error) {
	if r.kind != opening || name == "" || len(t.Secrets) == 0 {
		return nil, nil
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if !r.follows() {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := openat2.Open(int(t.Root.Fd()), name, &how)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var here, there unix.Stat_t
	if err := unix.Fstat(fd, &here); err != nil {
		return nil, err
	}
	for i := range t.Secrets {
		if err := unix.Fstat(int(t.Secrets[i].Place.Fd()), &there); err != nil {
			return nil, err
		}
		if here.Dev == there.Dev && here.Ino == there.Ino {
			return &t.Secrets[i], nil
		}
	}
	return nil, nil
}

// openSecret gives a process a secret, to be read.
func (t *thread) openSecret(r *request, s *Secret) error {
	if r.flags&unix.O_DIRECTORY != 0 {
		return unix.ENOTDIR
	}
	if r.flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY {
		return unix.EROFS
	}
	fd, err := unix.Open(descriptor(int(s.Data.Fd())), r.flags&usable|always, 0)
	if err != nil {
		return err
	}
	return t.hand(r, fd)
}
