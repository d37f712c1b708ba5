//go:build linux && (amd64 || arm64)

package thread

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/sandbox/notify"
)

// ask has what the command asks about /proc and devices, and of its secrets, answered where that can be. It cannot where the command
// is to have no filter of system calls at all, and this process may not set one for it.
func (c *container) ask() (err error) {
	if c.silent == nil && (c.admin || c.rights.NoNewPrivileges) {
		c.passage, err = notify.NewPassage()
		return err
	}
	for _, m := range c.Mounts {
		if m.Kind == sandbox.MemoryFile {
			return &sandbox.HostError{
				Missing: "the secret " + m.Target + " cannot be a file: it would have to be on a disk here",
				Remedy:  "give it as a variable (env=NAME), or build where commands have namespaces",
			}
		}
	}
	return nil
}

// writeAsking sets the filter that asks, and sends what it is answered by.
func (c *container) writeAsking(p *program) {
	if c.passage == nil {
		return
	}
	const stage = "asking about /proc"
	p.add(stage, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, notify.Flags(), c.passage.Program()).into = listener
	p.add(stage, unix.SYS_DUP3, 0, c.passage.Number(), unix.O_CLOEXEC).slot = listener
	p.add(stage, unix.SYS_SENDMSG, c.passage.Socket(), c.passage.Message(), 0)
}

// answer begins to answer.
func (c *container) answer() error {
	if c.passage == nil {
		return nil
	}
	from, err := c.passage.Receive()
	if err != nil {
		return err
	}
	if c.asked, err = os.Open(c.Root.Path); err != nil {
		return errors.Join(err, from.Close())
	}
	c.server, err = notify.Serve(from, notify.Options{
		Root: c.asked, Masked: c.rights.Masked, ReadOnly: c.rights.ReadOnly, Secrets: c.filling.Secrets(), Devices: c.stood,
	})
	return err
}

// answered ends that, when no process of the command is left.
func (c *container) answered() (err error) {
	if c.passage == nil {
		return nil
	}
	if c.server != nil {
		err = c.server.Close()
	}
	if c.asked != nil {
		err = errors.Join(err, c.asked.Close())
	}
	return errors.Join(err, c.passage.Close())
}
