//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// What a process uses stands in its note, the locked file of its scratch directory (see
// scratch.go): another process that wants to remove a layer reads the notes of those that
// live. Podman and Buildah do not know of notes; what keeps them away is in hold.go.

// ErrRemoved says that a layer was removed from the store while it was in use.
var ErrRemoved = errors.New("was removed from the store by another program while it was in use; build again")

// Use keeps a layer and those below it from being removed until it is closed.
type Use struct {
	store *Store
	layer *Layer
	since time.Time
	noted *Layer // what the process's note has of it
}

// uses is what a Store uses, and the holds that it has for it.
type uses struct {
	mu      sync.Mutex
	removal *os.File // locked alone by who removes, shared by who writes a note
	open    map[*Use]struct{}
	timer   *time.Timer
	closed  bool

	keeping sync.Mutex       // one pass over the holds at a time
	holds   map[string]*hold // by the layer that is held; mu guards it too
}

// note is what a process says about itself.
type note struct {
	PID     int
	Program string
	Layers  []string // in use, and with them those below
	Holds   []string // see hold.go
}

func (n note) String() string { return fmt.Sprintf("%s (pid %d)", n.Program, n.PID) }

// Use says that a layer, and those below it, is in use from now on, as the process itself
// knows at once. The others know it when Claim has returned, and soon without it, so that
// a build that only finds its steps in the cache writes nothing. The Use must be closed.
func (s *Store) Use(l *Layer) *Use {
	u := &Use{store: s}
	u.Move(l)
	return u
}

func (s *Store) useImage(img *cs.Image) (*Use, error) {
	top, err := s.Layer(img.TopLayer)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", img.ID, err)
	}
	u := s.Use(top)
	if err := u.Claim(); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// Move says that another layer is in use instead.
func (u *Use) Move(l *Layer) {
	s := u.store
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	u.layer, u.since = l, time.Now()
	s.uses.open[u] = struct{}{}
	s.keepSoon()
}

// Claim keeps other processes from removing the layer from now on. It fails with ErrRemoved
// when it is not there any more.
func (u *Use) Claim() error {
	s := u.store
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	if u.layer == u.noted {
		return nil
	}
	if err := s.writeNote(); err != nil {
		return err
	}
	if u.layer != nil && !u.layer.present() {
		return u.layer.removed() // what is below it goes only after it
	}
	return s.checkPlain(u.layer)
}

// Close ends the use. It is idempotent.
func (u *Use) Close() {
	s := u.store
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	if _, ok := s.uses.open[u]; !ok {
		return
	}
	delete(s.uses.open, u)
	if u.noted != nil {
		// A note that says too much keeps others from removing what nobody uses, no more.
		_ = s.writeNote()
	}
	if len(s.uses.holds) > 0 {
		s.keepSoon()
	}
}

// Intact fails with ErrRemoved when the layer or one below it has been removed since it
// was first opened, or is just being removed: what was read of it may not be all that was
// in it. It waits for a removal that has begun.
func (s *Store) Intact(l *Layer) error {
	for r := l; r != nil; r = r.parent {
		if !r.registered() {
			continue
		}
		if _, err := s.cs.Layer(r.id); errors.Is(err, cs.ErrLayerUnknown) {
			return r.removed()
		}
		break
	}
	for ; l != nil; l = l.parent {
		if !l.present() {
			return l.removed()
		}
	}
	return nil
}

func (l *Layer) removed() error { return fmt.Errorf("layer %.12s %w", l.id, ErrRemoved) }

// openUses opens the lock of removals.
func (s *Store) openUses() (err error) {
	s.uses.open, s.uses.holds = map[*Use]struct{}{}, map[string]*hold{}
	s.uses.removal, err = s.private.OpenFile("removal", os.O_CREATE|os.O_RDWR, 0o600)
	return err
}

// writeNote writes the process's note. The caller holds uses.mu.
func (s *Store) writeNote() error {
	owner, err := s.owner()
	if err != nil {
		return err
	}
	data, err := json.Marshal(s.note())
	if err != nil {
		return err
	}
	if err := s.lockRemoval(unix.LOCK_SH); err != nil {
		return err
	}
	defer s.unlockRemoval()
	if _, err := owner.WriteAt(data, 0); err != nil {
		return err
	}
	return owner.Truncate(int64(len(data)))
}

// note is that of this process, and marks what it has. The caller holds uses.mu.
func (s *Store) note() note {
	n := note{PID: s.user.PID, Program: s.user.Program}
	for u := range s.uses.open {
		u.noted = u.layer
		for l := u.layer; l != nil; l = l.parent {
			n.Layers = append(n.Layers, l.id)
			if l.registered() {
				break // the store knows what is below
			}
		}
	}
	for _, h := range s.uses.holds {
		n.Holds = append(n.Holds, h.id)
	}
	return n
}

func (s *Store) lockRemoval(how int) error {
	if err := unix.Flock(int(s.uses.removal.Fd()), how); err != nil {
		return &os.PathError{Op: "flock", Path: s.uses.removal.Name(), Err: err}
	}
	return nil
}

func (s *Store) unlockRemoval() { _ = unix.Flock(int(s.uses.removal.Fd()), unix.LOCK_UN) }

// removing calls remove while no process can begin to use anything. inUse tells it who
// uses a layer or one above it, or nil.
func (s *Store) removing(remove func(inUse func(layer string) *note) error) error {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	if err := s.lockRemoval(unix.LOCK_EX); err != nil {
		return err
	}
	defer s.unlockRemoval()
	notes, err := s.notes()
	if err != nil {
		return err
	}
	used := map[string]*note{}
	for i := range notes {
		for _, id := range notes[i].Layers {
			used[id] = &notes[i]
			l, err := s.Layer(id)
			if err != nil {
				continue // not registered yet; the note has those below it too
			}
			for ; l != nil; l = l.parent {
				used[l.id] = &notes[i]
			}
		}
	}
	return remove(func(id string) *note { return used[id] })
}

// notes are those of this process and of all that live. The caller holds uses.mu.
func (s *Store) notes() ([]note, error) {
	notes := []note{s.note()}
	err := s.eachOwner(func(name string, f *os.File) error {
		if name == s.scratch.name || unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			return nil // our own, or of one that has died
		}
		if n, ok := readNote(f); ok {
			notes = append(notes, n)
		}
		return nil
	})
	return notes, err
}

// readNote reads a note; there is none where a process has used nothing yet.
func readNote(f *os.File) (n note, ok bool) {
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return n, err == nil && json.Unmarshal(data, &n) == nil
}

// eachOwner calls do for each process's locked file.
func (s *Store) eachOwner(do func(name string, f *os.File) error) error {
	entries, err := fs.ReadDir(s.temp.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isLock := strings.CutSuffix(e.Name(), ".lock")
		if !isLock {
			continue // it goes with its lock
		}
		f, err := s.temp.OpenFile(e.Name(), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(do(name, f), f.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
