//go:build linux

package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/owndir"
	"github.com/oakum-build/oakum/storage/registry"
)

// ownNames are the names of what containers/storage, Podman and this package keep in a store's
// directories.
var ownNames = slices.Concat(storeNames, stateNames, []string{"libpod", "volumes", "networks", "secrets", "artifacts", "db.sql", "defaultNetworkBackend"})

// Place is a directory of the store. When a user chose it, files that are not the store's may
// lie in it. Content lists the paths that are certainly the store's. None of them need exist.
type Place struct {
	Dir     string
	Content []string
}

// Places says where the store is.
func (s *Store) Places() []Place {
	dirs := []string{s.catalog.GraphRoot(), s.catalog.RunRoot()}
	if images := s.catalog.ImageStore(); images != "" {
		dirs = append(dirs, images)
	}
	var places []Place
	for _, dir := range dirs {
		p := Place{Dir: dir}
		for _, name := range ownNames {
			p.Content = append(p.Content, filepath.Join(dir, name))
		}
		places = append(places, p)
	}
	places[0].Content = append(places[0].Content, s.temp.Name())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bigFiles != nil {
		places = append(places, Place{Dir: s.bigFiles.Path(), Content: []string{s.bigFiles.Path()}})
	}
	return places
}

// bigFilesDir is a directory for the large temporary files of containers/image. If TMPDIR is set
// it is one of this process alone in there, else the scratch directory in the store.
func (s *Store) bigFilesDir() (string, error) {
	if os.Getenv("TMPDIR") == "" {
		return s.Scratch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bigFiles == nil {
		dir, err := owndir.Temp("oakum-scratch-")
		if err != nil {
			return "", err
		}
		s.bigFiles = dir
	}
	return s.bigFiles.Path(), nil
}

// closeBigFiles removes the directory in TMPDIR, if one was made.
func (s *Store) closeBigFiles() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bigFiles == nil {
		return nil
	}
	return s.bigFiles.Remove()
}

// systemContext is how containers/image goes about one call. Its large temporary files
// are in TMPDIR or in the store. The next process that uses any there sweeps those of a killed one.
func (s *Store) systemContext(a registry.Access) (*types.SystemContext, error) {
	sys := a.SystemContext()
	var err error
	if sys.BigFilesTemporaryDir, err = s.bigFilesDir(); err != nil {
		return nil, fmt.Errorf("making a directory for temporary files: %w", err)
	}
	return sys, nil
}
