package main

import (
	"regexp"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/index"
	"github.com/oakum-build/oakum/dockerfile"
)

// shapeFlags are the flags of build for what the image holds beside its files.
func shapeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "label", Usage: "add the label `NAME=VALUE`; repeatable"},
		&cli.StringSliceFlag{Name: "unsetlabel", Usage: "remove the label `NAME` from the image; repeatable"},
		&cli.BoolFlag{Name: "inherit-labels", Value: true, Usage: "keep the labels of base images; on unless --inherit-labels=false"},
		&cli.StringSliceFlag{Name: "annotation", Usage: "add the annotation `[ON:]NAME=VALUE` to the image's manifest, which must be OCI's, or ON manifest, index or manifest-descriptor, several with commas between them, each with [PLATFORM] for that alone; repeatable"},
		&cli.StringSliceFlag{Name: "unsetannotation", Usage: "leave out the annotation `NAME`; repeatable"},
		&cli.BoolFlag{Name: "inherit-annotations", Usage: "keep the annotations of the base image's manifest"},
		&cli.BoolFlag{Name: "squash", Usage: "make one layer of those that the build makes on the base image"},
		&cli.BoolFlag{Name: "squash-all", Usage: "make one layer of all, those of the base image too"},
		&cli.BoolFlag{Name: "omit-history", Usage: "write no history into the image"},
	}
}

// readShape reads the shapeFlags.
func readShape(c *cli.Context, i *dockerfile.Image) (err error) {
	if i.Labels, err = labels(values(c, "label")); err != nil {
		return err
	}
	if i.Annotations, err = annotations(values(c, "annotation")); err != nil {
		return err
	}
	i.UnsetLabels, i.UnsetAnnotations = values(c, "unsetlabel"), values(c, "unsetannotation")
	i.NoBaseLabels, i.InheritAnnotations = !c.Bool("inherit-labels"), c.Bool("inherit-annotations")
	i.OmitHistory = c.Bool("omit-history")
	switch {
	case c.Bool("squash-all"):
		i.Squash = "all"
	case c.Bool("squash"):
		i.Squash = "new"
	}
	return nil
}

// labels reads --label; a name without = is an empty label, as in docker.
func labels(texts []string) (map[string]string, error) {
	pairs, err := keyValues("label", texts)
	m := make(map[string]string, len(pairs))
	for k, v := range pairs {
		m[k] = ""
		if v != nil {
			m[k] = *v
		}
	}
	return m, err
}

// annotationPlaces is what docker buildx has before the name of an annotation: what it stands on.
var annotationPlaces = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?(?:,[a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?)*):`)
})

// annotations reads --annotation. What has no place before a colon is for the manifest.
func annotations(texts []string) ([]index.Annotation, error) {
	var all []index.Annotation
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		places := []string{""}
		if found := annotationPlaces().FindString(name); found != "" {
			name, places = strings.TrimPrefix(name, found), strings.Split(strings.TrimSuffix(found, ":"), ",")
		}
		if !ok || name == "" {
			return nil, usagef("--annotation %q is not NAME=VALUE", text)
		}
		for _, place := range places {
			on, platform, _ := strings.Cut(strings.TrimSuffix(place, "]"), "[")
			switch on {
			case "", "manifest", "index", "manifest-descriptor":
			case "index-descriptor":
				return nil, usagef("--annotation %q: nothing here keeps what is said of an index from outside; annotate the index itself: index:%s=%s", text, name, value)
			default:
				return nil, usagef("--annotation %q: it can stand on a manifest, an index or a manifest-descriptor, not on %q", text, on)
			}
			all = append(all, index.Annotation{On: on, Platform: platform, Name: name, Value: value})
		}
	}
	return all, nil
}
