package dockerfile

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// imagePrefixes begin the named contexts that are images of a registry or the store.
var imagePrefixes = []string{"docker-image://", "container-image://", "docker://"}

const ociPrefix = "oci-layout://"

// contextImage gives the image that a named context is, or "".
func contextImage(value string) string {
	for _, prefix := range imagePrefixes {
		if image, ok := strings.CutPrefix(value, prefix); ok {
			return image
		}
	}
	return ""
}

// contextImages are the named contexts for the plan: the image of each, or "".
func (o Options) contextImages() map[string]string {
	images := map[string]string{}
	for name, value := range o.Contexts {
		images[name] = contextImage(value)
	}
	return images
}

// validateContexts checks the named contexts.
func (o Options) validateContexts() error {
	for name, value := range o.Contexts {
		if err := validateNamed(name, value); err != nil {
			return fmt.Errorf("build context %s=%s: %w", name, plan.Redact(value), err)
		}
	}
	return nil
}

func validateNamed(name, value string) error {
	if _, platform, restricted := strings.Cut(name, "::"); restricted {
		if _, err := plan.ParsePlatform(platform); err != nil || platform == "" {
			return fmt.Errorf("%w: after :: a platform is wanted, such as linux/arm64", builder.ErrInvalid)
		}
	}
	switch {
	case name == "" || value == "":
		return fmt.Errorf("%w: it needs a name and a value", builder.ErrInvalid)
	case contextImage(value) != "" || isURL(value) || strings.HasPrefix(value, "github.com/"):
		return nil
	case strings.HasPrefix(value, ociPrefix):
		_, err := layoutReference(value)
		return err
	case isRepository(value):
		_, err := builder.IsGit(value)
		return err
	case strings.Contains(value, "://"):
		return fmt.Errorf("%w: it is none of a directory, docker-image://, oci-layout://, a git repository and an http or https URL", builder.ErrInvalid)
	}
	info, err := os.Stat(value)
	kind, _, _ := strings.Cut(value, ":")
	switch {
	case err != nil && (kind == "input" || kind == "target"):
		return fmt.Errorf("%w: results of another build are not to be had by name; build it with --tag, and name docker-image://TAG", builder.ErrInvalid)
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: not a directory", builder.ErrInvalid)
	}
	return err
}

// openContext opens a named context that is no image of a registry. A directory that
// is only copied from stays where it is; else its files, without what its ignore file
// leaves out, become those of a stage.
func (w *worker) openContext(ctx context.Context, opts builder.StageOptions) (err error) {
	value := w.opts.Contexts[w.Context]
	switch {
	case strings.HasPrefix(value, ociPrefix):
		ref, err := layoutReference(value)
		if err != nil {
			return err
		}
		w.fs, err = w.lib.Stage(ctx, ref, opts)
		return err
	case isRepository(value) || isURL(value):
		w.fs, _, err = fetch(ctx, w.lib, w.opts, value, gitOptions{})
		return err
	}
	dir := origin{dir: value}
	if _, dir.ignore, err = (tree{lib: w.lib, dir: value}).ignore(ctx, ".containerignore", ".dockerignore"); err != nil {
		return err
	}
	if w.Index < 0 {
		w.local = dir
		return nil
	}
	w.fs, err = intoStage(ctx, w.lib, files{origin: dir, dest: "/", patterns: []string{"."}})
	return err
}

// layoutReference makes a reference to an image of an OCI layout, in the form that
// builder.Stage takes, of oci-layout://PATH[:TAG|@DIGEST].
func layoutReference(value string) (string, error) {
	path := strings.TrimPrefix(value, ociPrefix)
	path, sum, byDigest := strings.Cut(path, "@")
	path, tag, tagged := strings.Cut(path, ":")
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	text, err := foreign.ReadNamed(context.Background(), filepath.Join(path, "index.json"), foreign.MaxJSON)
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
