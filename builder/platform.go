package builder

import (
	"fmt"

	"github.com/oakum-build/oakum/storage/platform"
)

// readPlatform reads StageOptions.Platform; "" is the zero value.
func readPlatform(text string) (platform.Platform, error) {
	if text == "" {
		return platform.Platform{}, nil
	}
	p, err := platform.Parse(text)
	if err != nil {
		err = fmt.Errorf("%w: platform %s: %w", ErrInvalid, text, err)
	}
	return p, err
}

// Platform is what the stage's image says that it is made for, such as "linux/arm64".
func (s *Stage) Platform() string { return s.image.platform().String() }

// SetPlatform makes the image one for another platform, OS/ARCH[/VARIANT], whatever its
// files are. It is for images that are put together of files for that platform.
func (s *Stage) SetPlatform(text string) error {
	p, err := readPlatform(text)
	if err == nil {
		s.image.setPlatform(p)
	}
	return err
}

func (i *baseImage) platform() platform.Platform {
	return platform.Platform{OS: i.OS, Architecture: i.Architecture, Variant: i.Variant}
}

// setPlatform drops what an image says of another system's version. It keeps the variant
// when none is meant.
func (i *baseImage) setPlatform(p platform.Platform) {
	if p.OS != i.OS || p.Architecture != i.Architecture {
		i.Variant, i.OSVersion, i.OSFeatures = "", "", nil
	}
	i.OS, i.Architecture = p.OS, p.Architecture
	if p.Variant != "" {
		i.Variant = p.Variant
	}
}
