package plan

import (
	"strings"

	"github.com/distribution/reference"
)

// contextOf finds the named context that stands for a stage, or for an image by any of
// the names that mean the same. The key is that of Options.Contexts.
func (p *Plan) contextOf(name string) (key string, ok bool) {
	for key := range p.opts.Contexts {
		if strings.EqualFold(key, name) {
			return key, true
		}
	}
	wanted := normal(name)
	for key := range p.opts.Contexts {
		if wanted != "" && normal(key) == wanted {
			return key, true
		}
	}
	return "", false
}

// normal is the full name of an image, with its tag; "" for what is none.
func normal(name string) string {
	named, err := reference.ParseNormalizedNamed(strings.ToLower(name))
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// substitute lets a stage start from the named context that stands for its image, if
// there is one.
func (p *Plan) substitute(s *Stage, image string) {
	s.Image = image
	key, ok := p.contextOf(image)
	if !ok {
		return
	}
	if other := p.opts.Contexts[key]; other != "" {
		s.Image = other
	} else {
		s.Context = key
	}
}
