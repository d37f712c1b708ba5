//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/usage"
)

// another opens the store that s has as another process would.
func another(t testing.TB, s *Store, pid int) *Store {
	t.Helper()
	opts := options(s.cs.GraphRoot())
	opts.PID, opts.Program = pid, "other"
	other, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func use(t testing.TB, s *Store, l *Layer) *Use {
	t.Helper()
	u := s.Use(l)
	if err := u.Claim(); err != nil {
		t.Fatal(err)
	}
	return u
}

// foreignImage makes an image as Podman pulls it: its layers have no mark of ours.
func foreignImage(t testing.TB, s *Store) (cs.Image, *Layer) {
	t.Helper()
	below, err := s.cs.CreateLayer("", "", nil, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	top, err := s.cs.CreateLayer("", below.ID, nil, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.cs.CreateImage("", []string{"localhost/foreign:latest"}, top.ID, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Layer(top.ID)
	if err != nil {
		t.Fatal(err)
	}
	return *img, l
}

// eventually waits for something that happens beside.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to this: ", what)
		}
	}
}

func layerIDs(t testing.TB, s *Store) []string {
	t.Helper()
	all, err := s.cs.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, l := range all {
		ids = append(ids, l.ID)
	}
	return ids
}

// What is in use cannot be removed: not by another process or this one, by its image,
// by that of a layer above, or with force; and it is said who uses it.
func TestRemoveWhatIsInUse(t *testing.T) {
	t.Parallel()
	s := open(t)
	other := another(t, s, 4321)
	base := layer(t, s, nil, "f", "")
	top := layer(t, s, base, "g", "")
	commit(t, s, top, "app")
	for _, store := range []*Store{s, other} {
		for _, l := range []*Layer{top, base} {
			u := use(t, store, l)
			for _, force := range []bool{false, true} {
				_, err := s.Remove("app", force, false)
				if !errors.Is(err, ErrInUse) || (store == other && !strings.Contains(err.Error(), "other (pid 4321)")) {
					t.Errorf("removing what is in use, with force %t: %v", force, err)
				}
			}
			u.Close()
			u.Close()
		}
	}
	u := use(t, other, top)
	if _, err := s.Remove("app", false, false); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	commit(t, s, top, "second")
	u.Close()
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// A use that moves on frees what it was on.
func TestUseMoves(t *testing.T) {
	t.Parallel()
	s := open(t)
	one, two := layer(t, s, nil, "f", "1"), layer(t, s, nil, "f", "2")
	commit(t, s, one, "one")
	commit(t, s, two, "two")
	u := use(t, s, one)
	u.Move(two)
	if _, err := s.Remove("one", false, false); err != nil {
		t.Error(err)
	}
	if _, err := s.Remove("two", false, false); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	three := layer(t, s, two, "f", "3")
	u.Move(three)
	if p, err := s.Prune(t.Context(), usage.Options{}); err != nil || p.Layers != 0 {
		t.Errorf("pruned %+v of what is in use, %v", p, err)
	}
	u.Move(one)
	if err := u.Claim(); !errors.Is(err, ErrRemoved) {
		t.Errorf("using what is gone: %v", err)
	}
	u.Close()
}

// Podman and Buildah remove an image's record, with force or not, but not the layers that
// are held; these go with the last that is on them, and no sooner.
func TestHold(t *testing.T) {
	t.Parallel()
	s := open(t)
	img, l := foreignImage(t, s)
	u := use(t, s, l)
	eventually(t, "a hold", func() bool { return len(layerIDs(t, s)) == 3 })
	if st, err := s.Status(); err != nil || st.Layers != 2 {
		t.Errorf("with a hold there are %d layers, %v", st.Layers, err)
	}
	if _, err := s.cs.DeleteImage(img.ID, true); err != nil {
		t.Fatal(err)
	}
	if ids := layerIDs(t, s); len(ids) != 3 || s.Intact(l) != nil {
		t.Errorf("left of the image in use: %v", ids)
	}
	step := layer(t, s, l, "f", "")
	u.Move(step)
	u.Close()
	eventually(t, "no hold", func() bool { return len(layerIDs(t, s)) == 3 })
	if p, err := s.Prune(t.Context(), usage.Options{}); err != nil || p.Layers != 1 {
		t.Error(p, err)
	}
	if ids := layerIDs(t, s); len(ids) != 0 {
		t.Errorf("left: %v", ids)
	}
}

// Where nothing else keeps them, the layers of an image that was removed go with the hold,
// and layers whose image is there stay.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	for _, removed := range []bool{true, false} {
		root := t.TempDir()
		s, err := Open(options(root))
		if err != nil {
			t.Fatal(err)
		}
		img, l := foreignImage(t, s)
		use(t, s, l)
		eventually(t, "a hold", func() bool { return len(layerIDs(t, s)) == 3 })
		left := 2
		if removed {
			left = 0
			if _, err := s.cs.DeleteImage(img.ID, true); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s = another(t, &Store{backend: backend{cs: s.cs}}, 1)
		if ids := layerIDs(t, s); len(ids) != left {
			t.Errorf("left: %v, want %d", ids, left)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The next process removes the holds of one that was killed.
func TestHoldOfTheDead(t *testing.T) {
	t.Parallel()
	s := open(t)
	img, l := foreignImage(t, s)
	h, err := s.cs.CreateLayer("", l.ID(), nil, "", false, &cs.LayerOptions{Flags: map[string]any{holdFlag: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.cs.DeleteImage(img.ID, true); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(note{PID: 1, Program: "dead", Layers: []string{l.ID()}, Holds: []string{h.ID, l.ID(), "unknown"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.temp.Name(), "0123456789abcdef.lock"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	other := another(t, s, 1)
	if ids := layerIDs(t, other); len(ids) != 0 {
		t.Errorf("left: %v", ids)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(s.temp.Name()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A step below which a layer is removed fails with that reason, whatever became of its
// command; also when an image with the same layer ids is there again afterwards.
func TestStepWhoseLayersGo(t *testing.T) {
	t.Parallel()
	failed := errors.New("exit status 127")
	for name, result := range map[string]error{"succeeds": nil, "fails": failed} {
		for _, again := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				s := open(t)
				img, l := foreignImage(t, s)
				below := l.Parent().ID()
				made, err := makeLayer(t, s, l, func(string) error {
					lowers, err := l.Lowers()
					if err != nil {
						t.Fatal(err)
					}
					closeAll(lowers)
					if _, err := s.cs.DeleteImage(img.ID, true); err != nil {
						t.Fatal(err)
					}
					if again {
						_, err1 := s.cs.CreateLayer(below, "", nil, "", false, nil)
						_, err2 := s.cs.CreateLayer(l.ID(), below, nil, "", false, nil)
						if err := errors.Join(err1, err2); err != nil {
							t.Fatal(err)
						}
					}
					return result
				})
				if err == nil {
					err = made.Wait(t.Context())
				}
				if !errors.Is(err, ErrRemoved) {
					t.Errorf("got %v", err)
				}
				want := 0
				if again {
					want = 2
				}
				if ids := layerIDs(t, s); len(ids) != want {
					t.Errorf("left: %v", ids)
				}
			})
		}
	}
}

// A container's image is not removed, with force neither, whose ever the container is.
func TestRemoveWithContainers(t *testing.T) {
	t.Parallel()
	s := open(t)
	img := commit(t, s, layer(t, s, nil, "f", ""), "app", "also")
	c, err := s.cs.CreateContainer("", []string{"app-working-container"}, img.ID, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(img.ID, false, true); !errors.Is(err, ErrInUse) {
		t.Errorf("removing as unnamed what has names: %v", err)
	}
	for _, ref := range []string{img.ID, "app"} {
		_, err := s.Remove(ref, true, false)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "app-working-container") {
			t.Errorf("removing %s: %v", ref, err)
		}
		if _, err := s.cs.Container(c.ID); err != nil {
			t.Errorf("the container: %v", err)
		}
		if err := s.cs.RemoveNames(img.ID, []string{"localhost/also:latest"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cs.DeleteContainer(c.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove("app", false, false); err != nil {
		t.Error(err)
	}
}
