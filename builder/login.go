//go:build linux

package builder

import "github.com/oakum-build/oakum/storage"

// CheckAuthFile gives an error for an auth file, as in Registry, that cannot be read; ""
// is none. It needs no Builder.
func CheckAuthFile(path string) error { return storage.CheckAuthFile(path) }
