//go:build linux

package mountpoint

import (
	"errors"
	"os"

	"github.com/oakum-build/oakum/storage"
)

// InScratch gives a root that is made in a scratch directory of the store, with the mount points of Make in it.
// release calls the end that was made with the root, and removes the directory. The files' owners are their own.
func InScratch(s *storage.Store, points []string, make func(place string) (root *os.File, end func() error, err error)) (root *os.File, release func() error, err error) {
	place, remove, err := s.ScratchDir("over-")
	if err != nil {
		return nil, nil, err
	}
	root, end, err := make(place)
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	Make(root, nil, points)
	return root, func() error { return errors.Join(end(), remove()) }, nil
}
