//go:build linux

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/userns"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
)

// What the caller grants a command, a secret or an agent, is a file in a ramfs of its own. Unlike a
// tmpfs that is never swapped out, and it goes with the command, or with this process. Where nothing can be mounted
// an agent's socket is in a directory, and a secret in a file that no file system has.

// grantedFile makes the ramfs, and gives the path that the file is to have. release removes both.
func (w *worker) grantedFile() (path string, release func() error, err error) {
	dir := filepath.Join(w.mnt, "grants", strconv.Itoa(w.next()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "granted")
	if w.kind == userns.Plain {
		return path, func() error { return os.RemoveAll(dir) }, nil
	}
	if err := unix.Mount("ramfs", dir, "ramfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return "", nil, errors.Join(fmt.Errorf("mounting a ramfs: %w", err), os.Remove(dir))
	}
	return path, func() error {
		return errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir))
	}, nil
}

// showSecret shows a secret, which the caller writes.
func (m *mounts) showSecret(ctx context.Context, i int) (s shown, err error) {
	secret := m.list[i].Secret
	if err := passwd.CheckMapped("its owner", passwd.User{UID: secret.UID, GID: secret.GID}); err != nil {
		return s, err
	}
	s, f, err := m.w.secretFile()
	if err != nil {
		return s, err
	}
	if s.mount.Memory == nil {
		defer f.Close()
	}
	if _, err = wire.Ask(ctx, m.call, question.Grant{Mount: i}, f); err == nil && secret.Env != "" {
		s.env, err = secretVariable(secret.Env, f)
	}
	if err == nil {
		err = errors.Join(f.Chown(secret.UID, secret.GID), f.Chmod(modeOr(secret.Mode, 0o400)))
	}
	if err == nil && s.mount.Memory != nil {
		const all = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, all)
	}
	if err != nil {
		return shown{}, errors.Join(err, s.release())
	}
	return s, nil
}

// secretFile makes an empty file for a secret, that goes with what is shown.
func (w *worker) secretFile() (s shown, f *os.File, err error) {
	if w.kind == userns.Plain {
		fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			return s, nil, os.NewSyscallError("memfd_create", err)
		}
		f = os.NewFile(uintptr(fd), "secret")
		return shown{mount: sandbox.Mount{Kind: sandbox.MemoryFile, Memory: f, ReadOnly: true}, release: f.Close}, f, nil
	}
	path, release, err := w.grantedFile()
	if err != nil {
		return s, nil, err
	}
	if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return s, nil, errors.Join(err, release())
	}
	return shown{mount: sandbox.Mount{Kind: sandbox.BindFile, Source: path, ReadOnly: true}, release: release}, f, nil
}

// secretVariable is a variable with what was written to a file.
func secretVariable(name string, f *os.File) ([]string, error) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, limits.MaxSecret))
	defer clear(data)
	switch {
	case err != nil:
		return nil, err
	case bytes.IndexByte(data, 0) >= 0:
		return nil, fmt.Errorf("%w: it has a NUL byte, which the variable %s cannot have: mount it as a file", errdefs.ErrInvalid, name)
	case len(name)+len("=")+len(data) >= limits.MaxValue:
		return nil, fmt.Errorf("%w: mount it as a file", &limits.LimitError{Name: "the variable " + name, Limit: limits.MaxValue, Unit: "bytes"})
	}
	return []string{name + "=" + string(data)}, nil
}

// showAgent shows a socket on which the caller serves an ssh agent.
func (m *mounts) showAgent(ctx context.Context, i int) (shown, error) {
	agent := m.list[i].SSH
	if err := passwd.CheckMapped("its owner", passwd.User{UID: agent.UID, GID: agent.GID}); err != nil {
		return shown{}, err
	}
	path, release, err := m.w.grantedFile()
	if err != nil {
		return shown{}, err
	}
	socket, err := listen(path)
	if err != nil {
		return shown{}, errors.Join(err, release())
	}
	defer socket.Close()
	if err = errors.Join(os.Chown(path, agent.UID, agent.GID), os.Chmod(path, modeOr(agent.Mode, 0o600))); err == nil {
		_, err = wire.Ask(ctx, m.call, question.Grant{Mount: i}, socket)
	}
	if err != nil {
		return shown{}, errors.Join(err, release())
	}
	s := shown{mount: sandbox.Mount{Kind: sandbox.BindFile, Source: path, ReadOnly: true, Owned: true}, release: release}
	for _, before := range m.list[:i] {
		if before.SSH != nil {
			return s, nil
		}
	}
	s.env = []string{"SSH_AUTH_SOCK=" + m.list[i].Target}
	return s, nil
}

// listen makes a socket that listens at a path, which may be longer than that of a socket can be.
func listen(path string) (*os.File, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	socket := os.NewFile(uintptr(fd), "agent")
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))}); err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("listening for the agent's clients", err), socket.Close())
	}
	return socket, nil
}

func modeOr(mode, otherwise fs.FileMode) fs.FileMode {
	if mode == 0 {
		return otherwise
	}
	return mode.Perm()
}
