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

	"github.com/oakum-build/oakum/storage/internal/treedriver"
)

func placeError(root string, err error) error {
	for _, unfit := range []error{graphdriver.ErrIncompatibleFS, graphdriver.ErrNotSupported, graphdriver.ErrPrerequisites} {
		// The driver remembers the outcome of its trial mount, and then gives the text alone.
		if errors.Is(err, unfit) || strings.HasSuffix(err.Error(), unfit.Error()) {
			return &PlaceError{Root: root, Err: err}
		}
	}
	var file *fs.PathError
	if errors.Is(err, syscall.EPERM) && !errors.As(err, &file) { // of a mount: no file is named
		return &PlaceError{Root: root, Err: err}
	}
	for _, unusable := range []error{fs.ErrPermission, fs.ErrNotExist, syscall.EROFS, syscall.ENOTDIR} {
		if errors.Is(err, unusable) {
			return &PlaceError{Root: root, Err: err, Unusable: true}
		}
	}
	return fmt.Errorf("opening the store %s: %w", root, err)
}

// The drivers of stores, for Options.Driver.
const (
	// DriverOverlay keeps layers as directories that overlay mounts.
	DriverOverlay = "overlay"
	// DriverTree keeps layers as their tars. It needs no mount, no ids but its own and no
	// capability. Its layers and images are seen by oakum alone, and not by a store with the driver
	// overlay at the same root.
	DriverTree = treedriver.Name
)

// treeState is the name of the run-time state in the root of a store with the driver tree.
const treeState = "tree-run"

// override puts opts over the user's settings. The driver is overlay unless opts says tree, whatever
// the settings say, since an image does not depend on it; instead is the one that they say
// and whose images are therefore not seen.
func override(o *storagetypes.StoreOptions, opts Options) (instead string, err error) {
	switch opts.Driver {
	case "", DriverOverlay, "overlay2", DriverTree:
	default:
		return "", fmt.Errorf("%w: builds need the driver overlay or tree, not %s: leave the driver out", ErrDriver, opts.Driver)
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
	// Layers that are not unpacked as streams would not be looked at (Helper).
	o.PullOptions = maps.Clone(o.PullOptions)
	if o.PullOptions == nil {
		o.PullOptions = map[string]string{}
	}
	o.PullOptions["enable_partial_images"], o.PullOptions["convert_images"] = "false", "false"
	if opts.Driver == DriverTree {
		o.GraphDriverName, o.GraphDriverOptions, o.ImageStore = DriverTree, opts.DriverOptions, ""
		if _, err := treedriver.ParseLimits(opts.DriverOptions); err != nil {
			return "", fmt.Errorf("%w: %w", ErrDriver, err)
		}
		if opts.RunRoot == "" {
			// It has locks alone, and is where files may certainly be.
			o.RunRoot = filepath.Join(o.GraphRoot, treeState)
		}
		return "", nil
	}
	if name := o.GraphDriverName; name != "" && name != "overlay" && name != "overlay2" {
		// Without storage.conf, older libraries choose vfs for an ordinary user.
		if os.Getenv("STORAGE_DRIVER") != "" || storeExists(o.GraphRoot, name) {
			instead = name
		}
		o.GraphDriverOptions = nil
	}
	o.GraphDriverName = DriverOverlay
	if opts.Driver != "" {
		instead, o.GraphDriverOptions = "", nil
	}
	if len(opts.DriverOptions) > 0 {
		o.GraphDriverOptions = opts.DriverOptions
	}
	o.GraphDriverOptions, err = driverOptions(o.GraphDriverOptions)
	return instead, err
}

func storeExists(root, driver string) bool {
	_, err := os.Stat(filepath.Join(root, driver+"-layers"))
	return err == nil
}

// optionOf gives the name of an option of the overlay driver, and its value.
func optionOf(option string) (key, value string) {
	key, value, _ = strings.Cut(option, "=")
	key = strings.ToLower(strings.TrimSpace(key))
	for _, prefix := range []string{"overlay2.", "overlay.", "."} {
		key = strings.TrimPrefix(key, prefix)
	}
	return key, value
}

// driverOptions leaves out what would change the files of layers and is not needed, since
// builds make their mounts themselves: a mount program keeps deleted files in a form that
// the kernel does not know, and a failed change of an owner must be an error. Masked modes
// cannot be honoured: the kernel would show the mask. The driver's home is not mounted over
// itself, for builds see to it that their mounts reach no other mount namespace.
func driverOptions(options []string) ([]string, error) {
	var kept []string
	for _, option := range options {
		key, value := optionOf(option)
		switch {
		case key == syncOption: // done by syncFiles
		case key == "force_mask" && strings.TrimSpace(value) != "":
			return nil, fmt.Errorf("%w: force_mask (%s) keeps the modes of files where only a mount program finds them: use a store without it: --root DIR --storage-driver overlay", ErrDriver, value)
		case key == "use_composefs" && value == "true":
			return nil, fmt.Errorf("%w: use_composefs keeps layers in a form that cannot be built on: use a store without it: --root DIR --storage-driver overlay", ErrDriver)
		case !slices.Contains([]string{"mount_program", "ignore_chown_errors", "force_mask", "use_composefs", "skip_mount_home"}, key):
			kept = append(kept, option)
		}
	}
	return append(kept, "overlay.skip_mount_home=true"), nil
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
