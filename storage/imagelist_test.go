//go:build linux

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	cs "go.podman.io/storage"

	"github.com/oakum-build/oakum/storage/usage"
)

// Images that are made at once, some by another process, are all there with what is kept beside them; a name that several
// want is one's.
func TestImagesAtOnce(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	one, other := openIn(t, root), openIn(t, root)
	defer one.Close()
	defer other.Close()
	top := layer(t, one, nil, "f", "")
	const many = 12
	var made [many]Image
	var making sync.WaitGroup
	for i := range many {
		s := []*Store{one, other}[i%2]
		making.Go(func() {
			l, err := s.Layer(top.ID())
			if err == nil {
				made[i], err = s.CommitImage(t.Context(), Commit{Top: l, Names: []string{"shared", fmt.Sprintf("own:%d", i)}, Config: numbered(i)})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	making.Wait()
	having := 0
	for i, img := range made {
		d, err := one.Inspect(fmt.Sprintf("own:%d", i))
		if err != nil || d.ID != img.ID || digest.FromBytes(d.Config).Encoded() != img.ID || len(d.Layers) != 1 {
			t.Errorf("%d: %+v, %v", i, d, err)
		}
		having += len(d.Names) - 1
	}
	if having != 1 {
		t.Errorf("%d images have the name that all wanted", having)
	}
}

func numbered(i int) func([]digest.Digest, []time.Time) (json.RawMessage, time.Time, error) {
	return func(ids []digest.Digest, _ []time.Time) (json.RawMessage, time.Time, error) {
		raw, err := json.Marshal(map[string]any{"author": fmt.Sprint(i), "os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
		return raw, time.Unix(1, 0), err
	}
}

// What cannot be listed leaves the list as it was: an image that is there, and one whose layer is not. What is left beside the
// list of a process that was killed is written over.
func TestImageList(t *testing.T) {
	t.Parallel()
	s := open(t)
	img := commit(t, s, layer(t, s, nil, "f", ""), "app")
	writes := listWrites(t, s)
	list, err := s.imageList()
	if err != nil {
		t.Fatal(err)
	}
	if err := list.add(&cs.Image{ID: img.ID, Names: []string{"localhost/app:latest"}}, "", nil); !errors.Is(err, cs.ErrDuplicateID) {
		t.Error(err)
	}
	if err := list.add(&cs.Image{ID: "new", Names: img.Names}, filepath.Join(t.TempDir(), "gone"), nil); !errors.Is(err, cs.ErrLayerUnknown) {
		t.Error(err)
	}
	if n := writes(); n != 0 {
		t.Errorf("the list was written %d times", n)
	}
	if found, err := s.Find("app"); err != nil || found.ID != img.ID {
		t.Errorf("%+v, %v", found, err)
	}

	raw, _, _ := numbered(1)([]digest.Digest{}, nil)
	dir := filepath.Join(list.dir, digest.FromBytes(raw).Encoded())
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "manifest"), make([]byte, 1<<16), 0o600)); err != nil {
		t.Fatal(err)
	}
	made, err := s.CommitImage(t.Context(), Commit{Names: []string{"empty"}, Config: func([]digest.Digest, []time.Time) (json.RawMessage, time.Time, error) {
		return raw, time.Unix(1, 0), nil
	}})
	if err != nil || filepath.Base(dir) != made.ID {
		t.Fatalf("%+v, %v", made, err)
	}
	if d, err := s.Inspect("empty"); err != nil || d.Manifest.Digest != made.Digest {
		t.Errorf("%+v, %v", d, err)
	}
}

// What a killed process has left of an image that it had not listed goes with a prune, and nothing of images that are listed.
func TestPruneSweepsImages(t *testing.T) {
	t.Parallel()
	s := open(t)
	img := commit(t, s, layer(t, s, nil, "f", ""), "app")
	list, err := s.imageList()
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(list.dir, digest.FromString("left").Encoded())
	if err := errors.Join(os.Mkdir(left, 0o700), os.WriteFile(filepath.Join(left, "manifest"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	pruned(t, s, usage.Options{DryRun: true})
	if _, err := os.Stat(left); err != nil {
		t.Error(err)
	}
	pruned(t, s, usage.Options{})
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if d, err := s.Inspect("app"); err != nil || d.ID != img.ID || len(d.Config) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
}
