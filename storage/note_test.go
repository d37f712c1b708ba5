//go:build linux

package storage

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/stringid"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// onSmallDisk opens a store on a file system of its own, which fill fills.
func onSmallDisk(t *testing.T) (s *Store, store string, fill func()) {
	t.Helper()
	ofOverlay(t) // that is, where something can be mounted
	root := t.TempDir()
	must(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=24m"))
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	store = filepath.Join(root, "store")
	return openIn(t, store), store, func() { filled(t, filepath.Join(root, "fill")) }
}

func written(t *testing.T, s *Store) note {
	t.Helper()
	f, err := os.Open(filepath.Join(s.temp.Name(), s.scratch.name+".lock"))
	must(t, err)
	defer f.Close()
	n, err := decodeNote(f)
	must(t, err)
	return n
}

// What could not be noted is not taken for noted: each Claim tells it, until the note is written.
func TestClaimOfWhatIsNotNoted(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "")
	lock := s.uses.lock
	s.uses.lock = func(*os.File, int) error { return unix.EAGAIN }
	u := s.Use(l)
	for range 2 {
		if err := u.Claim(); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("without a note: %v", err)
		}
	}
	s.uses.mu.Lock()
	s.uses.lock = lock
	s.uses.mu.Unlock()
	must(t, s.alone(func([]note) error { return nil })) // for which it is told what is in use
	must(t, u.Claim())
	if n := written(t, s); !slices.Contains(n.Layers, l.ID()) {
		t.Errorf("it is written: %+v", n)
	}
	u.Close()
	if n := written(t, s); len(n.Layers) > 0 {
		t.Errorf("it is still written: %+v", n)
	}
}

// A note is written also when the disk has become full. One that is longer than what was set aside for it is told of, and as long as it
// stands there in part, nobody removes anything.
func TestNoteOnAFullDisk(t *testing.T) {
	s, store, fill := onSmallDisk(t)
	defer func() { must(t, s.Close()) }()
	l := layer(t, s, nil, "f", "")
	commit(t, s, l, "app")
	ids := func(n int) (ids []string) {
		for range n {
			ids = append(ids, stringid.GenerateRandomID())
		}
		return ids
	}
	other := another(t, s, 4321)
	_, err := other.owner()
	must(t, err)
	fill()
	var done []func()
	for range 3 { // which become shorter in between
		f, err := other.noteMoving(ids(800)...)
		must(t, err)
		f()
		fill()
	}
	f, err := other.noteMoving(ids(1000)...)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal("a note that is longer: ", err)
	}
	done = append(done, f)
	u := other.Use(l)
	for range 2 {
		if err := u.Claim(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("what could not be noted: %v", err)
		}
	}
	if _, err := s.Remove("app", true, false); err == nil || !strings.Contains(err.Error(), "other (pid 4321)") {
		t.Errorf("removing what another may use: %v", err)
	}
	must(t, os.Remove(filepath.Join(filepath.Dir(store), "fill")))
	must(t, u.Claim())
	if _, err := s.Remove("app", true, false); !errors.Is(err, ErrInUse) {
		t.Errorf("removing what another uses: %v", err)
	}
	u.Close()
	for _, f := range done {
		f()
	}
	must(t, other.Close())
	if _, err := s.Remove("app", true, false); err != nil {
		t.Error(err)
	}
}

// Beside a process whose note cannot be read nothing is removed. That of one that has died keeps nobody from it.
func TestUnreadableNote(t *testing.T) {
	t.Parallel()
	s := open(t)
	l := layer(t, s, nil, "f", "")
	commit(t, s, l, "app")
	cached := layer(t, s, l, "g", "")
	other := another(t, s, 4321)
	u := use(t, other, cached)
	at := filepath.Join(s.temp.Name(), other.scratch.name+".lock")
	must(t, os.Truncate(at, 60))
	_, removing := s.Remove("app", true, false)
	_, pruning := s.Prune(t.Context(), usage.Options{All: true})
	for _, err := range []error{removing, pruning} {
		if err == nil || !strings.Contains(err.Error(), "other (pid 4321)") {
			t.Errorf("beside a note that cannot be read: %v", err)
		}
	}
	if ids := layerIDs(t, s); !slices.Contains(ids, l.ID()) || !slices.Contains(ids, cached.ID()) {
		t.Errorf("left: %v", ids)
	}
	u.Move(l)
	if p, err := s.Prune(t.Context(), usage.Options{}); err != nil || p.Layers != 1 {
		t.Errorf("when it can be read again: %+v, %v", p, err)
	}
	u.Close()
	must(t, other.Close())
	at = filepath.Join(s.temp.Name(), "0123456789abcdef.lock")
	must(t, os.WriteFile(at, []byte(`{"PID":5,"Prog`), 0o600))
	must(t, s.alone(func([]note) error { return nil }))
	sweeping, err := os.OpenFile(at, os.O_RDWR, 0)
	must(t, err)
	defer sweeping.Close()
	must(t, flock(sweeping, unix.LOCK_EX))
	must(t, s.sweepNote(sweeping))
	if _, err := s.Remove("app", true, false); err != nil {
		t.Errorf("beside the note of one that has died: %v", err)
	}
}

// What stands behind a note is not looked at, and who has written one is told from its beginning.
func TestReadNote(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		pid int
		of  string
	}{
		`{"PID":7,"Program":"a \u003c b","Layers":["x"]}","y"]}`: {7, "a < b (pid 7)"},
		`{"PID":7,"Program":"a","Layers":["x`:                    {0, "a (pid 7)"},
		`{"PID":7,"Prog`:                                         {0, "another process (pid 7)"},
		`{"PI`:                                                   {0, "another process"},
		``:                                                       {0, "another process"},
	} {
		at := filepath.Join(t.TempDir(), "note")
		must(t, os.WriteFile(at, []byte(text), 0o600))
		f, err := os.Open(at)
		must(t, err)
		if n, ok := readNote(f); n.PID != want.pid || ok != (want.pid != 0) || writer(f) != want.of {
			t.Errorf("%s: %+v, %t, of %s", text, n, ok, writer(f))
		}
		must(t, f.Close())
	}
}
