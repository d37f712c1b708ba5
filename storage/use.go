//go:build linux

package storage

import (
	"bytes"
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

// A build uses layers that other processes may want to remove. So each process writes the ids
// of what it uses into its note, before it looks whether that is there. The note is the file beside its scratch
// directory, which it has locked for as long as it lives (see scratch.go). A process that wants to remove a layer reads
// the notes of all that live, and leaves alone what stands in one. Podman and Buildah know nothing
// of notes: what keeps them from removing layers is in hold.go.
//
// A note costs some system calls and no waiting for a disk, so each step of a build writes one, be it found in the
// cache or not. Only so may Prune remove layers beside builds.

// Use keeps a layer and those below it from being removed until it is closed.
type Use struct {
	store *Store
	layer *Layer
	from  *Layer // what was in use before, while Take has not seen that the layer is there
	since time.Time
	noted bool // the process's note has the layer
}

// uses is what a Store uses, and the holds that it has for it.
type uses struct {
	mu      sync.Mutex
	removal *os.File                        // locked exclusively while layers are removed, shared while a note is written
	lock    func(f *os.File, how int) error // of removal: flock, or tryFlock of a store that is looked at
	open    map[*Use]struct{}
	made    map[*Layer]bool // layers that were made, and that no Use has had yet; true are those that are being registered, or have been
	moving  map[string]int  // layers that pulls build on, by id
	pulls   pulls
	timer   *time.Timer
	closed  bool

	keeping sync.Mutex       // one pass over the holds at a time
	holds   map[string]*hold // by the layer that is held; mu guards it too
	marks   []string         // the same, of keepBelow; mu guards it
	left    bool             // some could not be removed
}

// note is what a process says about itself.
type note struct {
	PID     int
	Program string
	Layers  []string // in use, and with them those below
	Holds   []string // see hold.go
}

func (n note) String() string { return fmt.Sprintf("%s (pid %d)", n.Program, n.PID) }

// Use says that a layer, and those below it, is in use from now on. All processes respect that. Whether the layer
// is still there, and the note could be written, Claim tells. The Use must be closed.
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
	if u.layer == l && u.noted {
		return
	}
	u.set(l)
	_ = s.there(u) // Claim tries it again, and tells
}

// Take is Move to a layer that has been found, which counts as used now. When that is not there any more it fails with
// ErrRemoved, and what was in use before stays so.
func (u *Use) Take(l *Layer) error {
	s := u.store
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	before := u.layer
	u.set(l)
	u.from = before
	err := s.there(u)
	u.from = nil
	if err != nil {
		u.set(before)
		return err
	}
	s.touchLayer(l)
	return nil
}

// set sets the layer that is in use. The caller holds uses.mu, and writes the note.
func (u *Use) set(l *Layer) {
	s := u.store
	u.noted = u.layer == nil && l == nil // which need not be said
	u.layer, u.since = l, time.Now()
	s.uses.open[u] = struct{}{}
	if l != nil {
		delete(s.uses.made, l)
	}
	s.keepSoon()
}

// Claim makes sure that nobody removes the layer from now on, and that its files can be mounted. It fails with ErrRemoved
// when it is not there any more.
func (u *Use) Claim() error {
	s := u.store
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	if err := s.there(u); err != nil {
		return err
	}
	return s.checkPlain(u.layer)
}

// there makes sure that the note has a layer, and then that it is there. The caller holds uses.mu.
func (s *Store) there(u *Use) error {
	if !u.noted {
		if err := s.writeNote(); err != nil {
			return err
		}
	}
	if u.layer != nil && !u.layer.present() {
		return u.layer.removed() // if it is there, so are those below, which can only go after it
	}
	return nil
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
	if u.layer != nil { // also where it could not be noted, for then a part of a note may stand there
		// If this fails, the old note stays. It only keeps others from removing what nobody uses.
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
		if _, err := s.catalog.Layer(r.id); errors.Is(err, cs.ErrLayerUnknown) {
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

// openUses opens the lock of removals, which is taken by one of flock and tryFlock.
func (s *Store) openUses(lock func(f *os.File, how int) error) (err error) {
	s.uses.open, s.uses.made, s.uses.moving, s.uses.holds = map[*Use]struct{}{}, map[*Layer]bool{}, map[string]int{}, map[string]*hold{}
	s.uses.lock = lock
	s.uses.removal, err = s.private.OpenFile("removal", os.O_CREATE|os.O_RDWR, 0o600)
	return err
}

// writeNote writes the process's note, and remembers in each Use that it stands there. The caller holds uses.mu.
func (s *Store) writeNote() error {
	owner, err := s.owner()
	if err != nil {
		return err
	}
	if err := s.lockRemoval(unix.LOCK_SH); err != nil {
		return err
	}
	defer s.unlockRemoval()
	if err := putNote(owner, s.note()); err != nil {
		return err
	}
	for u := range s.uses.open {
		u.noted = true
	}
	return nil
}

// putNote writes a note into a process's file. That never becomes shorter, since what was set aside beyond its end would be let go
// (see makeOwner): spaces follow where the note before was longer. When the disk is full after a part, that part alone stays, which
// nobody takes for a note (see livingNote): together with the rest of the one before it could be read as another.
func putNote(f *os.File, n note) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if more := before.Size() - int64(len(data)); more > 0 {
		data = append(data, bytes.Repeat([]byte(" "), int(min(more, maxNote)))...)
	}
	wrote, err := f.WriteAt(data, 0)
	if err != nil && wrote > 0 {
		err = errors.Join(err, f.Truncate(int64(wrote)))
	}
	return err
}

// note gives the note of this process as it must be now. The caller holds uses.mu.
func (s *Store) note() note {
	n := note{PID: s.user.PID, Program: s.user.Program}
	list := func(l *Layer) {
		for ; l != nil; l = l.parent {
			n.Layers = append(n.Layers, l.id)
			if l.registered() {
				break // the store knows what is below
			}
		}
	}
	for u := range s.uses.open {
		list(u.layer)
		list(u.from)
	}
	for l, registered := range s.uses.made {
		if registered {
			list(l)
		}
	}
	for id := range s.uses.moving {
		n.Layers = append(n.Layers, id)
	}
	for _, h := range s.uses.holds {
		n.Holds = append(n.Holds, h.id)
	}
	n.Holds = append(n.Holds, s.uses.marks...)
	return n
}

// noteMarks says which holds keepBelow has.
func (s *Store) noteMarks(ids []string) error {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	s.uses.marks = ids
	return s.writeNote()
}

// made says of a layer that is being made that no Use has had it.
func (s *Store) made(l *Layer) {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	s.uses.made[l] = false
}

// noteMade says of a layer that is about to be registered that it is in use, until a Use has had it: else somebody
// could remove it in between.
func (s *Store) noteMade(l *Layer) error {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	if _, is := s.uses.made[l]; !is {
		return nil // its Use has noted it, or has ended
	}
	s.uses.made[l] = true
	return s.writeNote()
}

// notMade takes back what made and noteMade have said.
func (s *Store) notMade(l *Layer) {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	delete(s.uses.made, l)
}

// noteMoving says that layers, by their ids, are in use for a pull until done is called, whether they are there
// or not.
func (s *Store) noteMoving(ids ...string) (done func(), err error) {
	s.uses.mu.Lock()
	defer s.uses.mu.Unlock()
	for _, id := range ids {
		s.uses.moving[id]++
	}
	done = sync.OnceFunc(func() {
		s.uses.mu.Lock()
		defer s.uses.mu.Unlock()
		for _, id := range ids {
			if s.uses.moving[id]--; s.uses.moving[id] == 0 {
				delete(s.uses.moving, id)
			}
		}
		_ = s.writeNote() // as in Close
	})
	return done, s.writeNote()
}

func (s *Store) lockRemoval(how int) error { return s.uses.lock(s.uses.removal, how) }

func (s *Store) unlockRemoval() { _ = unix.Flock(int(s.uses.removal.Fd()), unix.LOCK_UN) }

// removing calls remove while no process can begin to use anything. inUse tells it who
// uses a layer or one above it, or nil.
func (s *Store) removing(remove func(inUse func(layer string) *note) error) error {
	return s.alone(func(notes []note) error {
		used := map[string]*note{}
		for i := range notes {
			for _, id := range notes[i].Layers {
				used[id] = &notes[i]
				l, err := s.Layer(id)
				if err != nil {
					continue // it is not registered yet, so the note itself lists those below it
				}
				for ; l != nil; l = l.parent {
					used[l.id] = &notes[i]
				}
			}
		}
		return remove(func(id string) *note { return used[id] })
	})
}

// alone calls do with all notes, while none of them can be written. It fails when one cannot be read, for then nobody knows what
// must not be removed.
func (s *Store) alone(do func([]note) error) error {
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
	return do(notes)
}

// notes are the notes of all processes that live, that of this one first. The caller holds
// uses.mu.
func (s *Store) notes() ([]note, error) {
	notes := []note{s.note()}
	err := s.eachOwner(func(name string, f *os.File) error {
		if name == s.scratch.name {
			return nil
		}
		n, err := livingNote(f)
		if err == nil && n != nil {
			notes = append(notes, *n)
		}
		return err
	})
	return notes, err
}

// livingNote reads the note of a process, and gives nil for one that has died or that uses nothing. Who sweeps has the file of one that
// has died for a moment, before the note is gone.
func livingNote(f *os.File) (found *note, err error) {
	err = patiently(func() error {
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			return nil
		}
		n, err := decodeNote(f)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("what %s uses in the store cannot be read, so that nothing is removed; try again when it has ended: %s: %w", writer(f), f.Name(), err)
		}
		found = &n
		return nil
	})
	return found, err
}

const maxNote = 1 << 24

// readNote reads a note; there is none where a process has used nothing yet, and where it was not written to its end.
func readNote(f *os.File) (note, bool) {
	n, err := decodeNote(f)
	return n, err == nil
}

// decodeNote reads a note. The error of a file that has none is io.EOF. What follows a note is not looked at: a process of another
// release that was killed may have left the end of a longer one.
func decodeNote(f *os.File) (n note, err error) {
	err = json.NewDecoder(io.NewSectionReader(f, 0, maxNote)).Decode(&n)
	return n, err
}

// writer says who has written a note, as far as its beginning tells that.
func writer(f *os.File) string {
	n := note{Program: "another process"}
	start := make([]byte, 1<<10)
	read, _ := f.ReadAt(start, 0)
	if found, _ := fmt.Sscanf(string(start[:read]), `{"PID":%d,"Program":%q`, &n.PID, &n.Program); found == 0 {
		return n.Program
	}
	return n.String()
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
			continue // a scratch directory, which is looked at by way of its file
		}
		f, err := s.temp.OpenFile(e.Name(), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(do(name, f), closeLock(f)) // which do may have locked
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
