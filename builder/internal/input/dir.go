//go:build linux

package input

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
)

// dir is a directory of this machine. It can change at any time, so nothing is known of it
// but the digests of single files.
type dir struct {
	env  Env
	path string
	root *os.File
	sums *fileSums
}

func findDir(env Env, path string) *dir { return &dir{env: env, path: path} }

func (d *dir) open(context.Context) (*os.File, error) {
	f, err := foreign.OpenDir(d.path)
	if errors.Is(err, unix.ENOTDIR) {
		return nil, invalid("%s is not a directory", d.path)
	}
	if err != nil {
		return nil, &filecopy.NotFoundError{Path: d.path, Why: "cannot be opened: " + errors.Unwrap(err).Error()}
	}
	d.root = f
	return f, nil
}

func (d *dir) fill(tree *filecopy.Tree) error {
	own := d.env.own(d.path)
	if err := own.check(d.root); err != nil {
		return err
	}
	if d.sums == nil {
		d.sums = loadSums(d.env.Store, d.path)
	}
	tree.Apart, tree.Sums, tree.Sockets, tree.Outside = own.apart, d.sums, true, d.env.Outside
	return nil
}

func (d *dir) known() string { return "" }

func (d *dir) learn(string) error { return nil }

func (d *dir) close() error {
	if d.sums != nil {
		d.sums.save()
	}
	if d.root == nil {
		return nil
	}
	return d.root.Close()
}
