package plan

import (
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
)

// contextOf finds the named context that stands for a stage, or for an image by any of
// the names that mean the same. One that is for the platform, NAME::PLATFORM, goes first.
// The key is that of Options.Contexts. Nothing stands for scratch and for the context
// itself, as in BuildKit.
func (p *Plan) contextOf(name, platform string) (key string, ok bool) {
	if name == "" || strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return "", false
	}
	wanted := normal(name)
	found := [4]*string{}
	for key := range p.opts.Contexts {
		own, onlyFor, restricted := strings.Cut(key, "::")
		rank := 0
		switch {
		case restricted && !samePlatform(onlyFor, platform):
			continue
		case !restricted:
			rank = 2
		}
		if strings.EqualFold(own, name) {
			found[rank] = &key
		} else if wanted != "" && normal(own) == wanted {
			found[rank+1] = &key
		}
	}
	for _, key := range found {
		if key != nil {
			return *key, true
		}
	}
	return "", false
}

// samePlatform compares platforms in any form. What is none is like no other.
func samePlatform(a, b string) bool {
	first, err := ParsePlatform(a)
	second, err2 := ParsePlatform(b)
	return err == nil && err2 == nil && platforms.FormatAll(first) == platforms.FormatAll(second)
}

// normal is the full name of an image, with its tag; "" for what is none.
func normal(name string) string {
	named, err := reference.ParseNormalizedNamed(strings.ToLower(name))
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// Instead says what stands for an image: it, or another image, or the named context of
// that key, which is no image.
func (p *Plan) Instead(image, platform string) (instead, context string) {
	key, ok := p.contextOf(image, platform)
	if !ok {
		return image, ""
	}
	if other := p.opts.Contexts[key]; other != "" {
		return other, ""
	}
	return image, key
}

// substitute lets a stage start from the named context that stands for its image, if
// there is one.
func (p *Plan) substitute(s *Stage, image string) {
	s.Image, s.Context = p.Instead(image, s.Platform)
	s.Given = s.Given || s.Image != image
}
