package main

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/display"
	"github.com/oakum-build/oakum/builder/usage"
)

const filterUsage = "`KEY=VALUE` those alone that are dangling=true|false (without a name), have label=NAME[=VALUE] or label!=NAME[=VALUE], " +
	"are called reference=PATTERN, or were made before=IMAGE, since=IMAGE or until=TIME; repeatable"

// filter chooses images. The zero value takes all of them.
type filter struct {
	name          string    // a name, the end of one, or a pattern; "" is any
	references    []string  // the same; one of them is enough
	dangling      *bool     // has no name
	labels        []string  // NAME or NAME=VALUE
	without       []string  // the same
	before, since string    // images; made earlier, later
	until         time.Time // made before
}

// readFilters reads --filter.
func readFilters(texts []string) (filter, error) {
	var f filter
	for _, text := range texts {
		if rest, ok := strings.CutPrefix(text, "label!="); ok {
			f.without = append(f.without, rest)
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return f, usagef("--filter %q is not KEY=VALUE", text)
		}
		if err := f.set(key, value, time.Now()); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *filter) set(key, value string, now time.Time) error {
	switch key {
	case "dangling":
		dangling, err := strconv.ParseBool(value)
		if err != nil {
			return usagef("--filter dangling=%s: it is true or false", display.Line(value))
		}
		f.dangling = &dangling
	case "label":
		f.labels = append(f.labels, value)
	case "reference":
		f.references = append(f.references, value)
	case "before":
		f.before = value
	case "since", "after":
		f.since = value
	case "until":
		until, err := usage.ParseTime(value, now)
		if err != nil {
			return usagef("--filter %s", display.Line(err.Error()))
		}
		f.until = until
	case "intermediate", "containers", "readonly", "manifest": // podman's; there are none
		if value != "false" {
			return usagef("--filter %s=%s: there are no such images here", key, display.Line(value))
		}
	default:
		return usagef("--filter %s is not known; there are dangling, label, label!, reference, before, since and until", display.Line(key))
	}
	return nil
}

// images gives the images that f takes, newest first.
func (f filter) images(ctx context.Context, b *builder.Builder) ([]builder.Image, error) {
	all, err := b.Images(ctx)
	if err != nil {
		return nil, err
	}
	var since time.Time
	before := f.until
	if f.since != "" {
		d, err := b.Inspect(ctx, f.since)
		if err != nil {
			return nil, err
		}
		since = d.Created
	}
	if f.before != "" {
		d, err := b.Inspect(ctx, f.before)
		if err != nil {
			return nil, err
		}
		if before.IsZero() || d.Created.Before(before) {
			before = d.Created
		}
	}
	var kept []builder.Image
	for _, img := range all {
		if !f.takes(img) || f.since != "" && !img.Created.After(since) || !before.IsZero() && !img.Created.Before(before) {
			continue
		}
		ok, err := f.takesLabels(ctx, b, img)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, img)
		}
	}
	return kept, nil
}

// takes judges what the list of images tells.
func (f filter) takes(img builder.Image) bool {
	called := func(patterns ...string) bool {
		return slices.ContainsFunc(img.Names, func(name string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return isCalled(name, p) })
		})
	}
	switch {
	case f.dangling != nil && *f.dangling != (len(img.Names) == 0):
		return false
	case f.name != "" && !called(f.name):
		return false
	}
	return len(f.references) == 0 || called(f.references...)
}

// takesLabels judges the labels. Only for them is an image looked into.
func (f filter) takesLabels(ctx context.Context, b *builder.Builder, img builder.Image) (bool, error) {
	if len(f.labels)+len(f.without) == 0 {
		return true, nil
	}
	d, err := b.Inspect(ctx, img.ID)
	if err != nil {
		return false, err
	}
	has := func(text string) bool {
		name, want, exact := strings.Cut(text, "=")
		value, ok := d.Config.Labels[name]
		return ok && (!exact || value == want)
	}
	return !slices.ContainsFunc(f.labels, func(l string) bool { return !has(l) }) && !slices.ContainsFunc(f.without, has), nil
}

// isCalled says that a name of the store is, ends in, or fits a pattern, with its tag or
// without: localhost/app:1 is called app, app:1, localhost/app and localhost/*.
func isCalled(name, pattern string) bool {
	repository, tag, digest := splitName(name)
	for {
		for _, text := range []string{repository, repository + ":" + tag, repository + "@" + digest} {
			if ok, err := path.Match(pattern, text); ok && err == nil {
				return true
			}
		}
		_, rest, more := strings.Cut(repository, "/")
		if !more {
			return false
		}
		repository = rest
	}
}
