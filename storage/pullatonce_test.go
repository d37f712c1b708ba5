//go:build linux

package storage

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/storage/authfile/authtest"
	"github.com/oakum-build/oakum/storage/platform"
	"github.com/oakum-build/oakum/storage/registry"
)

// Pulls of one image that go on at once all give it, also of one that was built here: each of them then takes
// back the layers that it has added, and another may have been about to use them.
func TestPullsAtOnce(t *testing.T) {
	authtest.Home(t)
	s := open(t)
	top := layer(t, s, layer(t, s, nil, "a", "one"), "b", "two")
	img := commit(t, s, top, "app")
	place := "oci:" + filepath.Join(t.TempDir(), "layout")
	if _, err := s.Push(t.Context(), img.ID, place, PushOptions{}, registry.Access{}); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 4 {
				got, err := s.Pull(t.Context(), place, platform.Platform{}, registry.Access{})
				if err != nil || got.ID != img.ID {
					t.Errorf("got image %q: %v", got.ID, err)
				}
			}
		})
	}
	group.Wait()
}
