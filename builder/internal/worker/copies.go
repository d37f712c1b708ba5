//go:build linux

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// copied is a copy of what is selected of a tree, in a directory of the store's scratch.
type copied struct {
	dir    *os.File
	owners *owners.Owners
	digest string
	remove func() error

	// Of copies, which lock them:
	users   int  // commands that see it
	retired bool // it goes with the last of them
}

// copiedName is that of the copy in its directory.
const copiedName = "files"

// copyOf copies what is selected of a tree.
func (m *mounts) copyOf(ctx context.Context, tree filecopy.Tree) (*copied, error) {
	place, remove, err := m.w.store.ScratchDir("bind-")
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(place)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	c := &copied{dir: dir, owners: m.w.owners(), remove: func() error { return errors.Join(dir.Close(), remove()) }}
	left := &tarfilter.LeftOut{}
	digests, err := filecopy.Copy(ctx, filecopy.Target{Root: dir, Owners: c.owners, Dest: "/" + copiedName, LeftOut: left}, []filecopy.Tree{tree})
	tell(m.call, left.Notices())
	if err != nil {
		return nil, errors.Join(err, c.remove())
	}
	c.digest = digests[0]
	return c, nil
}

// open opens the copy as a mere path. In messages it is called name.
func (c *copied) open(name string) (*os.File, error) {
	return filecopy.OpenShown(c.dir, copiedName, name)
}

// copies are what commands see of directories of this machine, which may change at any time. The
// last copy of each is kept for the next command that wants the same, until no stage is open any
// more, so that what has not changed is not copied for each command of a build.
type copies struct {
	mu sync.Mutex
	of map[string]*place
}

// place is where the last copy of something is.
type place struct {
	turn chan struct{} // one command at a time looks at it
	last *copied
}

// take gives a copy of what is selected of an input, and tells the input what was read. It is the
// caller's until leave, and only to be read.
func (c *copies) take(ctx context.Context, m *mounts, in *input.Input) (*copied, error) {
	p, err := c.place(in.Source())
	if err != nil {
		return nil, err
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.turn }()
	if c.has(p) {
		digest, err := in.Digest(ctx)
		if err != nil {
			return nil, err
		}
		if same := c.same(p, digest); same != nil {
			return same, nil
		}
	}
	tree, err := in.Open(ctx)
	if err != nil {
		return nil, err
	}
	made, err := m.copyOf(ctx, tree)
	digest := ""
	if err == nil {
		digest = made.digest
	}
	if err := in.Read(digest, err); err != nil {
		if made != nil {
			err = errors.Join(err, made.remove())
		}
		return nil, err
	}
	c.replace(p, made)
	return made, nil
}

// place is that of a source.
func (c *copies) place(src input.Source) (*place, error) {
	key, err := json.Marshal(src)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]*place{}
	}
	p := c.of[string(key)]
	if p == nil {
		p = &place{turn: make(chan struct{}, 1)}
		c.of[string(key)] = p
	}
	return p, nil
}

// has says that there is a copy to be compared with.
func (c *copies) has(p *place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.last != nil
}

// same gives the last copy one more user, if it has a digest.
func (c *copies) same(p *place, digest string) *copied {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.last == nil || p.last.digest != digest {
		return nil
	}
	p.last.users++
	return p.last
}

// replace puts a copy with one user in the place of the last.
func (c *copies) replace(p *place, made *copied) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.retire()
	made.users, p.last = 1, made
}

// retire has the last copy go as soon as nobody uses it. What cannot be removed goes with the
// store's scratch.
func (p *place) retire() {
	if p.last == nil {
		return
	}
	p.last.retired = true
	if p.last.users == 0 {
		_ = p.last.remove()
	}
	p.last = nil
}

// leave ends the use of a copy.
func (c *copies) leave(d *copied) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.users--; d.users == 0 && d.retired {
		return d.remove()
	}
	return nil
}

// drop forgets all copies.
func (c *copies) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, p := range c.of {
		p.retire()
		if len(p.turn) == 0 {
			delete(c.of, key)
		}
	}
}
