package plan

import (
	"errors"
	"strings"

	"github.com/containerd/platforms"
)

// scratch is the base that is no image.
const scratch = "scratch"

// ParsePlatform reads the platform to build for: OS, ARCH or OS/ARCH[/VARIANT]; "" and
// "local" are this machine's. It is in its normal form.
func ParsePlatform(text string) (platforms.Platform, error) {
	if text == "" || text == "local" {
		return platforms.Normalize(platforms.DefaultSpec()), nil
	}
	p, err := platforms.Parse(text)
	return platforms.Normalize(p), err
}

// setPlatform does what FROM --platform says.
func (s *Stage) setPlatform(text string) error {
	if text == "" {
		return errors.New("the platform is blank")
	}
	platform, err := ParsePlatform(text)
	if err == nil {
		s.Platform = platforms.Format(platform)
	}
	return err
}

// checkPlatform refuses images of systems whose files have other rules.
func checkPlatform(platform string) error {
	if strings.HasPrefix(platform, "windows") {
		return unsupported{"platform " + platform}
	}
	return nil
}
