package remotecache

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/oakum-build/oakum/storage/owndir"
)

// Aside makes a directory in that of a layout, for what is to be entered into it. Until it is removed no blob is that
// somebody may have found there, and so does not write: a sweep that has not seen the directory is over when this returns.
func Aside(layout *os.Root) (*owndir.Dir, error) {
	dir, err := layout.Open(".")
	if err != nil {
		return nil, err
	}
	own, err := owndir.In(dir, LayoutAside)
	if err != nil {
		return nil, err
	}
	if err := alone(layout, func() error { return nil }); err != nil {
		return nil, errors.Join(err, own.Remove())
	}
	return own, nil
}

// announce makes one with nothing in it, for a cache whose blobs are written to the layout itself.
func announce(layout *os.Root) (name string, done func() error, err error) {
	own, err := Aside(layout)
	if err != nil {
		return "", nil, err
	}
	return filepath.Base(own.Path()), own.Remove, nil
}
