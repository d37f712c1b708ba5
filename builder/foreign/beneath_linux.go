//go:build !otheros

package foreign

import "os"

// openBeneath is OpenBeneath in a directory that is not open.
func openBeneath(dir, name string) (*os.File, error) {
	root, err := OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return OpenBeneath(root, name)
}
