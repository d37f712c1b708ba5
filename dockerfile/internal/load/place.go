package load

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/gitref"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// Place is where a context is: one of these.
type Place struct {
	Image  string // an image of a registry or the store
	Layout string // an image of an OCI layout, in the form that builder.Stage takes
	Remote string // a git repository, or the URL of an archive or another file
	Git    bool   // it is a repository
	Dir    string // a directory of this machine
}

// HasConfig says that it is an image, whose configuration a stage starts with.
func (p Place) HasConfig() bool { return p.Image != "" || p.Layout != "" }

// imagePrefixes begin the named contexts that are images of a registry or the store.
var imagePrefixes = []string{"docker-image://", "container-image://", "docker://"}

const layoutPrefix = "oci-layout://"

// transports begin the named contexts that are images of the store, or in an archive or layout of
// this machine, as builder.Stage takes them.
var transports = []string{"containers-storage:", "oci:", "oci-archive:", "docker-archive:", "dir:"}

// isURL says whether a text is the URL of a file of the web.
func isURL(text string) bool {
	_, file, _ := plan.Remote(text)
	return file
}

// shortGit begins the repositories that only contexts are called so.
const shortGit = "github.com/"

// IsRepository says whether a context is a git repository.
func IsRepository(text string) bool {
	git, _ := gitref.Is(text)
	return git || strings.HasPrefix(text, shortGit)
}

// RemotePlace reads a place that is fetched; the zero Place is none.
func RemotePlace(ref string) (Place, error) {
	switch {
	case isURL(ref):
		return Place{Remote: ref}, nil
	case IsRepository(ref):
		if !strings.HasPrefix(ref, shortGit) {
			if _, err := gitref.Is(ref); err != nil {
				return Place{}, err
			}
		}
		return Place{Remote: ref, Git: true}, nil
	}
	return Place{}, nil
}

// remotePlace reads the URL of a build context.
func remotePlace(ref string) (Place, error) {
	place, err := RemotePlace(ref)
	if err == nil && place.Remote == "" {
		err = fmt.Errorf("%w: it is neither a git repository nor an http or https URL", builder.ErrInvalid)
	}
	if err != nil {
		return place, fmt.Errorf("build context %s: %w", plan.Redact(ref), err)
	}
	return place, nil
}

// Validate checks how a build context is given.
func (c Context) Validate() error {
	if c.URL == "" {
		return nil
	}
	_, err := remotePlace(c.URL)
	return err
}

// Places reads where named contexts are.
func Places(named map[string]string) (map[string]Place, error) {
	places := map[string]Place{}
	for name, value := range named {
		place, err := namedPlace(name, value)
		if err != nil {
			return nil, fmt.Errorf("build context %s=%s: %w", name, plan.Redact(value), err)
		}
		places[name] = place
	}
	return places, nil
}

func namedPlace(name, value string) (Place, error) {
	if _, platform, restricted := strings.Cut(name, "::"); restricted {
		if _, err := plan.ParsePlatform(platform); err != nil || platform == "" {
			return Place{}, fmt.Errorf("%w: after :: a platform is wanted, such as linux/arm64", builder.ErrInvalid)
		}
	}
	if name == "" || value == "" {
		return Place{}, fmt.Errorf("%w: it needs a name and a value", builder.ErrInvalid)
	}
	for _, prefix := range imagePrefixes {
		if image, ok := strings.CutPrefix(value, prefix); ok && image != "" {
			return Place{Image: image}, nil
		}
	}
	if path, ok := strings.CutPrefix(value, layoutPrefix); ok {
		layout, err := layoutReference(path)
		return Place{Layout: layout}, err
	}
	if place, err := RemotePlace(value); err != nil || place.Remote != "" {
		return place, err
	}
	info, err := os.Stat(value) // a directory may be called so
	kind, _, _ := strings.Cut(value, ":")
	if err != nil && slices.Contains(transports, kind+":") {
		return Place{Image: value}, nil
	}
	if strings.Contains(value, "://") {
		return Place{}, fmt.Errorf("%w: it is none of a directory, docker-image://, oci-layout://, an image's place such as oci-archive:FILE, a git repository and an http or https URL", builder.ErrInvalid)
	}
	switch {
	case err != nil && (kind == "input" || kind == "target"):
		return Place{}, fmt.Errorf("%w: results of another build are not to be had by name; build it with --tag, and name docker-image://TAG", builder.ErrInvalid)
	case err == nil && !info.IsDir():
		return Place{}, fmt.Errorf("%w: not a directory", builder.ErrInvalid)
	}
	return Place{Dir: value}, err
}

// layoutReference makes a reference to an image of an OCI layout, in the form that
// builder.Stage takes, of PATH[:TAG|@DIGEST].
func layoutReference(path string) (string, error) {
	path, sum, byDigest := strings.Cut(path, "@")
	path, tag, tagged := strings.Cut(path, ":")
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	text, err := foreign.ReadNamed(context.Background(), filepath.Join(path, "index.json"), limits.MaxJSON)
	if err != nil {
		return "", err
	}
	if !byDigest {
		if tagged {
			path += ":" + tag
		}
		return "oci:" + path, nil
	}
	var index struct {
		Manifests []struct{ Digest digest.Digest }
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return "", fmt.Errorf("index.json: %w", err)
	}
	for i, m := range index.Manifests {
		if string(m.Digest) == sum {
			return fmt.Sprintf("oci:%s:@%d", path, i), nil
		}
	}
	return "", fmt.Errorf("%s is not in the layout's index: %w", sum, builder.ErrImageNotFound)
}
