//go:build linux

package input

import (
	"context"
	"os"

	"github.com/oakum-build/oakum/builder/internal/filecopy"
)

// Fixed says that what is selected of the input can be shown as it lies: it does not change, all of
// it is selected, and it has the owners that it is to have.
func (in *Input) Fixed() bool { return in.src.fixed() }

// OpenSelected opens, as a mere path, the one directory or file that is selected. Links lead to
// what is in the input.
func (in *Input) OpenSelected(ctx context.Context) (*os.File, error) {
	root, err := in.Root(ctx)
	if err != nil {
		return nil, err
	}
	name := in.src.Selected()
	return filecopy.OpenShown(root, name, name)
}
