//go:build linux

package storage

import (
	"os"
	"path/filepath"
)

// ownNames are what containers/storage, Podman and this package keep in a store's
// directories.
var ownNames = []string{
	"overlay", "overlay-images", "overlay-layers", "overlay-containers", "overlay-locks", "storage.lock", "userns.lock",
	"libpod", "volumes", "networks", "secrets", "artifacts", "db.sql", "defaultNetworkBackend", "oakum",
}

// Place is a directory of the store. Other files may lie in it, if it was chosen so;
// Content is what in it or of it is certainly the store's. None of them need exist.
type Place struct {
	Dir     string
	Content []string
}

// Places says where the store is.
func (s *Store) Places() []Place {
	dirs := []string{s.cs.GraphRoot(), s.cs.RunRoot()}
	if images := s.cs.ImageStore(); images != "" {
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
	if s.bigFiles != "" {
		places = append(places, Place{Dir: s.bigFiles, Content: []string{s.bigFiles}})
	}
	return places
}

// bigFilesDir is a directory for the large temporary files of containers/image: one of
// this process alone in TMPDIR, that can be told from what else is there, or in the store.
func (s *Store) bigFilesDir() (string, error) {
	if os.Getenv("TMPDIR") == "" {
		return s.Scratch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bigFiles == "" {
		dir, err := os.MkdirTemp("", "oakum-")
		if err != nil {
			return "", err
		}
		s.bigFiles = dir
	}
	return s.bigFiles, nil
}

// closeBigFiles removes it.
func (s *Store) closeBigFiles() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bigFiles == "" {
		return nil
	}
	return os.RemoveAll(s.bigFiles)
}
