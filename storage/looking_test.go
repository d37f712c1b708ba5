//go:build linux

package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/lockfile"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/usage"
)

// lookAt opens the store that s has, to look.
func lookAt(t testing.TB, s *Store) (*Store, error) {
	t.Helper()
	opts := options(s.cs.GraphRoot())
	opts.PID, opts.Program, opts.Look = 2, "looker", true
	return Open(opts)
}

func looking(t testing.TB, s *Store) *Store {
	t.Helper()
	l, err := lookAt(t, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// looked is a store with an image, that can be looked at.
func looked(t testing.TB) (s *Store, img Image) {
	t.Helper()
	s = open(t)
	img = commit(t, s, layer(t, s, layer(t, s, nil, "f", "one"), "g", "two"), "looked")
	if err := s.RememberOpened([]byte("full")); err != nil {
		t.Fatal(err)
	}
	return s, img
}

// Who looks is told the same as who has the store open in full.
func TestLookFindsTheSame(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s, img := looked(t)
	l := looking(t, s)
	if what, err := l.Opened(); err != nil || string(what) != "full" {
		t.Errorf("remembered %q, %v", what, err)
	}
	for _, ref := range []string{"looked", "localhost/looked:latest", img.ID, img.ID[:12], "sha256:" + img.ID, "localhost/looked@" + img.Digest.String(), "none", "looked:none", strings.Repeat("0", 12)} {
		want, wantErr := s.Inspect(ref)
		got, err := l.Inspect(ref)
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) || errors.Is(err, ErrNotFound) != errors.Is(wantErr, ErrNotFound) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: got %s, %v, want %s, %v", ref, b, err, a, wantErr)
		}
	}
	top, err := l.Layer(img.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Committed(t.Context(), Commit{Top: top, Names: []string{"looked"}, Config: config}); err != nil || got.ID != img.ID {
		t.Errorf("committed %+v, %v", got, err)
	}
	for _, c := range []Commit{{Top: top, Names: []string{"looked", "other"}, Config: config}, {Top: top, Docker: true, Config: config}, {Top: top.Parent(), Config: config}} {
		if got, err := l.Committed(t.Context(), c); err == nil {
			t.Errorf("%+v is committed: %+v", c, got)
		}
	}
	// What is made meanwhile is seen.
	later := commit(t, s, layer(t, s, nil, "h", "three"), "later")
	if got, err := l.Inspect("later"); err != nil || got.ID != later.ID {
		t.Errorf("got %+v, %v", got, err)
	}
	ref, err := top.Ref()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.LayerAt(ref); err != nil || got.ID() != top.ID() || got.Parent().ID() != top.Parent().ID() || !got.Created().Equal(top.Created()) {
		t.Errorf("%s is %+v, %v", ref, got, err)
	}
}

// What somebody uses who looks stays.
func TestLookKeepsLayers(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s, img := looked(t)
	l := looking(t, s)
	top, err := l.Layer(img.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	u := l.Use(nil)
	defer u.Close()
	if err := u.Take(top); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove("looked", true, false); !errors.Is(err, ErrInUse) {
		t.Errorf("an image was removed: %v", err)
	}
	if _, err := s.Prune(t.Context(), usage.Options{All: true}); err != nil {
		t.Error(err)
	}
	if err := u.Claim(); err != nil {
		t.Error(err)
	}
	u.Close()
	if _, err := s.Remove("looked", true, false); err != nil {
		t.Error(err)
	}
	if err := u.Take(top); !errors.Is(err, ErrRemoved) {
		t.Errorf("a layer that was removed was taken: %v", err)
	}
	if _, err := s.LayerAt(json.RawMessage(`{"ID":"` + img.TopLayer + `","Created":[]}`)); !errors.Is(err, ErrRemoved) {
		t.Errorf("a layer that was removed was found: %v", err)
	}
}

// Whatever is not as it should be cannot be told by looking, and stays as it is.
func TestLookAtDamage(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	flagged := func(data []byte) []byte {
		var all []map[string]any
		_ = json.Unmarshal(data, &all)
		all[0]["flags"] = map[string]any{"incomplete": true}
		data, _ = json.Marshal(all)
		return data
	}
	twice := func(data []byte) []byte {
		var all []json.RawMessage
		_ = json.Unmarshal(data, &all)
		data, _ = json.Marshal(append(all, all...))
		return data
	}
	cut := func(data []byte) []byte { return data[:len(data)/2] }
	gone := func([]byte) []byte { return nil }
	other := func(data []byte) []byte { return append(data, ' ') } // as good, but not the one that the image says
	manifest := "-images/ID/manifest"
	for name, damage := range map[string]struct {
		file   string
		damage func([]byte) []byte
	}{
		"no layers": {"-layers/layers.json", gone}, "half of the layers": {"-layers/layers.json", cut}, "layers twice": {"-layers/layers.json", twice},
		"an incomplete layer": {"-layers/layers.json", flagged}, "no lock of layers": {"-layers/layers.lock", gone},
		"no images": {"-images/images.json", gone}, "half of the images": {"-images/images.json", cut}, "images twice": {"-images/images.json", twice},
		"no lock of images": {"-images/images.lock", gone}, "no manifest": {manifest, gone}, "half of a manifest": {manifest, cut}, "another manifest": {manifest, other},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, img := looked(t)
			path := filepath.Join(s.cs.GraphRoot(), s.Driver()+strings.Replace(damage.file, "ID", img.ID, 1))
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data = damage.damage(data)
			if data == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			l, err := lookAt(t, s)
			if err == nil {
				defer l.Close()
				_, err = l.Inspect("looked")
			}
			if err == nil {
				t.Error("the image was found")
			}
			if after, err := os.ReadFile(path); !bytes.Equal(after, data) || (err != nil) != (data == nil) {
				t.Errorf("the file is %q, %v", after, err)
			}
		})
	}
}

// Who looks does not wait for others.
func TestLookWaitsForNobody(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s, img := looked(t)
	l := looking(t, s)
	top, err := l.Layer(img.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := lockfile.GetLockFile(filepath.Join(s.cs.GraphRoot(), s.Driver()+"-images", "images.lock"))
	if err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	_, err = l.Inspect("looked")
	lock.Unlock()
	if err == nil {
		t.Error("an image was found while somebody was writing")
	}
	removal, err := s.private.OpenFile("removal", os.O_RDWR, 0) // of somebody else
	if err == nil {
		err = unix.Flock(int(removal.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	u := l.Use(nil)
	err = u.Take(top)
	if err := closeLock(removal); err != nil {
		t.Error(err)
	}
	u.Close()
	if err == nil {
		t.Error("a layer was taken while somebody was removing some")
	}
	if _, err := l.Inspect("looked"); err != nil {
		t.Error(err)
	}
}

// What others have left when they died, who looks leaves to those who can remove it.
func TestLookLeavesSweeping(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	for _, name := range []string{"oakum/0123456789abcdef.lock", "oakum/0123456789abcdef/", "temp-dir-1/", "lock-1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := looked(t)
			path := filepath.Join(s.cs.GraphRoot(), "overlay/tempdirs", name)
			var err error
			if strings.HasSuffix(name, "/") {
				err = os.Mkdir(path, 0o700)
			} else {
				err = os.WriteFile(path, nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if l, err := lookAt(t, s); err == nil {
				t.Error("a store was opened to look", l.Close())
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who has locked its file, or has just removed it, has not died.
func TestLookBesideOwners(t *testing.T) {
	t.Parallel()
	s, _ := looked(t)
	file := filepath.Join(s.temp.Name(), "0123456789abcdef.lock")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if s.swept() {
		t.Error("a dead owner's file is not seen")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil || !s.swept() {
		t.Errorf("an owner that lives is taken for dead, %v", err)
	}
	if err := errors.Join(os.Remove(file), unix.Flock(int(f.Fd()), unix.LOCK_UN), owned(f), f.Close()); err != nil {
		t.Errorf("an owner that goes: %v", err)
	}
}

func TestLookNeedsWhatWasRemembered(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s := open(t)
	commit(t, s, layer(t, s, nil, "f", "one"), "looked")
	if l, err := lookAt(t, s); err == nil {
		t.Error("a store was opened to look", l.Close())
	}
}

// A store that nobody has looked through since the machine was started may have layers that are not whole.
func TestLookAfterPowerCut(t *testing.T) {
	ofOverlay(t)
	t.Parallel()
	s, _ := looked(t)
	if err := s.private.WriteFile(bootFile, []byte("an earlier start"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := lookAt(t, s); err == nil {
		t.Error("a store was opened to look", l.Close())
	}
}
