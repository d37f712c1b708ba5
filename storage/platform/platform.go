// Package platform names what an image is made for: an operating system and a processor.
package platform

import "github.com/containerd/platforms"

// Platform is what an image is made for. The zero value is whatever there is, and this
// machine's where there is a choice.
type Platform struct{ OS, Architecture, Variant string }

// Parse reads OS, ARCH or OS/ARCH[/VARIANT], or "local" for this machine's, in
// the normal form of containerd's package platforms.
func Parse(text string) (Platform, error) {
	spec := platforms.DefaultSpec()
	if text != "local" {
		var err error
		if spec, err = platforms.Parse(text); err != nil {
			return Platform{}, err
		}
	}
	return Platform{spec.OS, spec.Architecture, spec.Variant}.Normal(), nil
}

// Host is this machine's.
func Host() Platform {
	host := platforms.DefaultSpec()
	return Platform{host.OS, host.Architecture, host.Variant}.Normal()
}

// String gives the form that Parse reads.
func (p Platform) String() string {
	return platforms.Format(platforms.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
}

// Normal is the form in which a platform has one name: arm64's variant v8 is not told.
func (p Platform) Normal() Platform {
	n := platforms.Normalize(platforms.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	return Platform{n.OS, n.Architecture, n.Variant}
}

// Fits says that an image for p is one for want. An image need not tell its variant, and
// one that tells no architecture fits all.
func (p Platform) Fits(want Platform) bool {
	if p.Architecture == "" {
		return true
	}
	p, want = p.Normal(), want.Normal()
	return p.OS == want.OS && p.Architecture == want.Architecture &&
		(p.Variant == want.Variant || p.Variant == "" || want.Variant == "")
}
