package dockerfile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/index"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// What an annotation can stand on.
const (
	onManifest   = "manifest"
	onIndex      = "index"
	onDescriptor = "manifest-descriptor"
)

// annotated are the annotations of an index, or of what there is for a platform that is built for, ""
// being the only one.
func (o Options) annotated(on, platform string) map[string]string {
	var all map[string]string
	for _, a := range o.Image.Annotations {
		if onOf(a) != on || a.Platform != "" && platform != "" && formatted(a.Platform) != platform {
			continue
		}
		if all == nil {
			all = map[string]string{}
		}
		all[a.Name] = a.Value
	}
	return all
}

// onOf is what an annotation stands on.
func onOf(a index.Annotation) string { return cmp.Or(a.On, onManifest) }

// formatted is a platform in the form that Options.platforms gives.
func formatted(text string) string {
	if p, err := plan.ParsePlatform(text); err == nil {
		return platforms.Format(p)
	}
	return text
}

// validateAnnotations checks that each annotation has its place in what is built.
func (o Options) validateAnnotations() error {
	built := o.platforms()
	several := len(built) > 1 || o.multiPlatform()
	if built[0] == "" {
		built[0] = formatted("local")
	}
	for _, a := range o.Image.Annotations {
		switch on := onOf(a); {
		case o.Image.Format == "docker":
			return errors.New("images and indexes of the format docker have no annotations")
		case a.Name == "":
			return fmt.Errorf("the annotation %q has no name", a.Value)
		case on != onManifest && on != onIndex && on != onDescriptor:
			return fmt.Errorf("annotation %q: it can stand on a manifest, an index or a manifest-descriptor, not on %q", a.Name, on)
		case on != onManifest && !several:
			return fmt.Errorf("annotation %q: only a build for several platforms makes an index, which %s is about; give it to the manifest, or set the build argument BUILDKIT_MULTI_PLATFORM=true", a.Name, on)
		case on == onIndex && a.Platform != "":
			return fmt.Errorf("annotation %q: an index is of no platform, and so not of %s", a.Name, a.Platform)
		case a.Platform != "" && !slices.Contains(built, formatted(a.Platform)):
			return fmt.Errorf("annotation %q: nothing is built for %s, only for %s", a.Name, a.Platform, strings.Join(built, ", "))
		}
		if err := (builder.Config{Labels: map[string]string{a.Name: a.Value}}).Validate(); err != nil {
			return fmt.Errorf("annotations: %w", err)
		}
	}
	return nil
}

// commitOptions are what the image is written with.
func (r *building) commitOptions(target *node) builder.CommitOptions {
	o := r.opts.Image
	var inline *cache.Cache
	if r.opts.Cache.Inline {
		inline = r.cache
	}
	return builder.CommitOptions{
		Format: o.Format, Author: target.author, Created: r.created(), OmitHistory: o.OmitHistory, Squash: o.Squash,
		Annotations: r.opts.annotated(onManifest, r.platform), InheritAnnotations: o.InheritAnnotations, UnsetAnnotations: o.UnsetAnnotations,
		InlineCache: inline,
	}
}

// labelled are the labels that the image has in the end.
func (i Image) labelled(labels map[string]string) map[string]string {
	if len(i.Labels) > 0 {
		labels = merged(labels, i.Labels)
	}
	if len(i.UnsetLabels) > 0 {
		labels = maps.Clone(labels)
		for _, name := range i.UnsetLabels {
			delete(labels, name)
		}
	}
	return labels
}
