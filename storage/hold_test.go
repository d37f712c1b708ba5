//go:build linux

package storage

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	cs "go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// strayHold makes an image of another program that was removed below a hold that stands in no note.
func strayHold(t *testing.T, s *Store) {
	t.Helper()
	img, l := foreignImage(t, s)
	must(t, s.putHold("", l.ID()))
	_, err := s.cs.DeleteImage(img.ID, true)
	must(t, err)
	if ids := layerIDs(t, s); len(ids) < 3 {
		t.Fatalf("below a hold there are %v", ids)
	}
}

// A hold that stands in no note goes, with the layers that it alone has kept: when the store is pruned, when a process has died,
// and when the machine was started again. Holds of those that live stay.
func TestStrayHolds(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := openIn(t, root)
	defer func() { must(t, s.Close()) }()
	img, l := foreignImage(t, s)
	must(t, s.cs.RemoveNames(img.ID, img.Names))
	u := use(t, s, l)
	defer u.Close()
	eventually(t, "a hold", func() bool { return len(layerIDs(t, s)) == 3 })
	kept := layerIDs(t, s)
	for what, then := range map[string]func(other *Store){
		"prune": func(other *Store) {
			_, err := other.Prune(t.Context(), usage.Options{DryRun: true})
			if must(t, err); len(layerIDs(t, s)) != 6 {
				t.Errorf("a dry run has left %v", layerIDs(t, s))
			}
			_, err = other.Prune(t.Context(), usage.Options{})
			must(t, err)
		},
		"kill": func(*Store) {
			must(t, os.WriteFile(filepath.Join(s.temp.Name(), "0123456789abcdef.lock"), []byte(`{"PID":5,"Prog`), 0o600))
			must(t, another(t, s, 1).Close())
		},
		"power cut": func(*Store) {
			must(t, os.Remove(filepath.Join(root, privateDir(driver()), bootFile)))
			must(t, another(t, s, 1).Close())
		},
	} {
		other := another(t, s, 2)
		strayHold(t, s)
		then(other)
		if ids := layerIDs(t, s); !slices.Equal(ids, kept) {
			t.Errorf("after a %s there are %v, not %v", what, ids, kept)
		}
		must(t, other.Close())
	}
}

// Beside a process whose note cannot be read, no hold is taken for one that nobody has.
func TestStrayHoldsBesideUnreadableNote(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, l := foreignImage(t, s)
	other := another(t, s, 4321)
	u := use(t, other, l)
	eventually(t, "a hold", func() bool { return len(layerIDs(t, s)) == 3 })
	held := written(t, other).Holds[0]
	must(t, os.Truncate(filepath.Join(s.temp.Name(), other.scratch.name+".lock"), 60))
	s.releaseStray()
	if s.release(held) == nil {
		t.Error("a hold was removed, and it cannot be told what of the layers below it is in use")
	}
	if ids := layerIDs(t, s); len(ids) != 3 {
		t.Errorf("left: %v", ids)
	}
	u.Close()
	must(t, other.Close())
}

// What keeps layers while those on them are removed stands in the note, so that another process leaves it alone, and the next one removes
// it when this one is killed.
func TestKeepBelowIsNoted(t *testing.T) {
	t.Parallel()
	s := open(t)
	other := another(t, s, 4321)
	_, l := foreignImage(t, s)
	done, err := s.keepBelow([]*cs.Layer{{ID: l.ID(), Parent: l.Parent().ID()}})
	must(t, err)
	if n := written(t, s); len(n.Holds) != 1 || !slices.Contains(layerIDs(t, s), n.Holds[0]) {
		t.Errorf("noted: %v", n.Holds)
	}
	other.releaseStray()
	if ids := layerIDs(t, s); len(ids) != 3 {
		t.Errorf("left: %v", ids)
	}
	must(t, done())
	if n := written(t, s); len(n.Holds) != 0 || len(layerIDs(t, s)) != 2 {
		t.Errorf("afterwards: %v of %v", n.Holds, layerIDs(t, s))
	}
	must(t, other.Close())
}

// A hold goes when a store is closed on a full disk. Where there is no reserve, it stays with the note, and goes when there is room.
func TestHoldOnAFullDisk(t *testing.T) {
	for name, reserve := range map[string]bool{"with a reserve": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			s, store, fill := onSmallDisk(t)
			img, l := foreignImage(t, s)
			use(t, s, l)
			eventually(t, "a hold", func() bool { return len(layerIDs(t, s)) == 3 })
			_, err := s.cs.DeleteImage(img.ID, true)
			must(t, err)
			if !reserve {
				must(t, s.private.Remove(reserveFile))
			}
			fill()
			note := filepath.Join(s.temp.Name(), s.scratch.name+".lock")
			err = s.Close()
			if _, kept := os.Stat(note); reserve != (err == nil) || !reserve && !errors.Is(err, unix.ENOSPC) || reserve != errors.Is(kept, os.ErrNotExist) {
				t.Errorf("closing: %v, the note: %v", err, kept)
			}
			must(t, os.Remove(filepath.Join(filepath.Dir(store), "fill")))
			again := openIn(t, store)
			if ids := layerIDs(t, again); len(ids) != 0 {
				t.Errorf("left: %v", ids)
			}
			if _, err := os.Stat(note); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the note: %v", err)
			}
			must(t, again.Close())
		})
	}
}
