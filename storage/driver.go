//go:build linux

package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	graphdriver "go.podman.io/storage/drivers"
	storagetypes "go.podman.io/storage/types"
)

// ErrDriver says that another driver was asked for than overlay, which builds need, or
// one of its options that they cannot have.
var ErrDriver = errors.New("invalid storage driver or option")

// PlaceError is a place at which no store can be.
type PlaceError struct {
	Root string
	Err  error
	// Unusable says that this user cannot make or write directories there; otherwise its
	// file system is of the wrong kind.
	Unusable bool
}

func (e *PlaceError) Error() string {
	if e.Unusable {
		return fmt.Sprintf("the store %s cannot be made or opened: %v", e.Root, e.Err)
	}
	return fmt.Sprintf("the store %s is where overlay cannot be mounted: %v", e.Root, e.Err)
}

func (e *PlaceError) Unwrap() error { return e.Err }

// Fix says what to do about it.
func (e *PlaceError) Fix() string {
	if e.Unusable {
		return "set HOME to a directory of this user, and XDG_RUNTIME_DIR to one or to nothing; or name directories for the store with --root DIR, or in storage.conf"
	}
	return "put the store on a file system such as ext4, xfs or btrfs with --root DIR, or graphroot in storage.conf; in a container, on a volume"
}

func placeError(root string, err error) error {
	for _, unfit := range []error{graphdriver.ErrIncompatibleFS, graphdriver.ErrNotSupported, graphdriver.ErrPrerequisites} {
		// The driver remembers the outcome of its trial mount, and then gives the text alone.
		if errors.Is(err, unfit) || strings.HasSuffix(err.Error(), unfit.Error()) {
			return &PlaceError{Root: root, Err: err}
		}
	}
	for _, unusable := range []error{fs.ErrPermission, fs.ErrNotExist, syscall.EROFS, syscall.ENOTDIR} {
		if errors.Is(err, unusable) {
			return &PlaceError{Root: root, Err: err, Unusable: true}
		}
	}
	return fmt.Errorf("opening the store %s: %w", root, err)
}

// override puts opts over the user's settings. The driver is overlay, whatever the
// settings say, since an image does not depend on it; instead is the one that they say
// and whose images are therefore not seen.
func override(o *storagetypes.StoreOptions, opts Options) (instead string, err error) {
	if opts.Driver != "" && opts.Driver != "overlay" && opts.Driver != "overlay2" {
		return "", fmt.Errorf("%w: builds need the driver overlay, not %s: leave the driver out", ErrDriver, opts.Driver)
	}
	if opts.Root != "" {
		o.GraphRoot = opts.Root
		if opts.RunRoot == "" {
			// A second store must not share the first one's locks and mounts.
			o.RunRoot = filepath.Join(opts.Root, "run")
		}
	}
	if opts.RunRoot != "" {
		o.RunRoot = opts.RunRoot
	}
	if name := o.GraphDriverName; name != "" && name != "overlay" && name != "overlay2" {
		// Without storage.conf, older libraries choose vfs for an ordinary user.
		if os.Getenv("STORAGE_DRIVER") != "" || storeExists(o.GraphRoot, name) {
			instead = name
		}
		o.GraphDriverOptions = nil
	}
	o.GraphDriverName = "overlay"
	if opts.Driver != "" {
		instead, o.GraphDriverOptions = "", nil
	}
	if len(opts.DriverOptions) > 0 {
		o.GraphDriverOptions = opts.DriverOptions
	}
	// Layers that are not unpacked as streams would not be looked at (Helper).
	o.PullOptions = maps.Clone(o.PullOptions)
	if o.PullOptions == nil {
		o.PullOptions = map[string]string{}
	}
	o.PullOptions["enable_partial_images"], o.PullOptions["convert_images"] = "false", "false"
	o.GraphDriverOptions, err = driverOptions(o.GraphDriverOptions)
	return instead, err
}

func storeExists(root, driver string) bool {
	_, err := os.Stat(filepath.Join(root, driver+"-layers"))
	return err == nil
}

// driverOptions leaves out what would change the files of layers and is not needed, since
// builds make their mounts themselves: a mount program keeps deleted files in a form that
// the kernel does not know, and a failed change of an owner must be an error. Masked modes
// cannot be honoured: the kernel would show the mask.
func driverOptions(options []string) ([]string, error) {
	var kept []string
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		for _, prefix := range []string{"overlay2.", "overlay.", "."} {
			key = strings.TrimPrefix(key, prefix)
		}
		switch {
		case key == "force_mask" && strings.TrimSpace(value) != "":
			return nil, fmt.Errorf("%w: force_mask (%s) keeps the modes of files where only a mount program finds them: use a store without it: --root DIR --storage-driver overlay", ErrDriver, value)
		case key == "use_composefs" && value == "true":
			return nil, fmt.Errorf("%w: use_composefs keeps layers in a form that cannot be built on: use a store without it: --root DIR --storage-driver overlay", ErrDriver)
		case !slices.Contains([]string{"mount_program", "ignore_chown_errors", "force_mask", "use_composefs"}, key):
			kept = append(kept, option)
		}
	}
	return kept, nil
}

// Instead is a sentence on the driver that the user's settings name and that is not used,
// or "".
func (s *Store) Instead() string {
	if s.instead == "" {
		return ""
	}
	return fmt.Sprintf("%s names the driver %s; the driver used is overlay, with which images of %s are not seen, nor its own with %s",
		cmp.Or(map[bool]string{true: "STORAGE_DRIVER"}[os.Getenv("STORAGE_DRIVER") != ""], "storage.conf"), s.instead, s.instead, s.instead)
}
