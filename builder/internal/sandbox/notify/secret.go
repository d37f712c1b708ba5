//go:build linux

package notify

import "os"

// Secret is a file that is in memory alone. Who opens its place, by whatever name, gets the memory.
type Secret struct {
	// Place is an empty file in the command's root, which has the owner, mode and size that is to be seen.
	Place *os.File
	// Data is the memory, with the same owner and mode, and sealed: whoever may open it could else change it.
	Data *os.File
}
