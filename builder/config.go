package builder

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// Config is what an image says about how its containers run: the OCI image
// configuration's "config" object with the three Docker extensions (Healthcheck,
// OnBuild, Shell) that BuildKit also writes into OCI images.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	Healthcheck  *Healthcheck        `json:"Healthcheck,omitempty"`
	OnBuild      []string            `json:"OnBuild,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
}

// Healthcheck is the Docker extension of the same name. Durations are encoded in
// nanoseconds; zero means inherited.
type Healthcheck struct {
	// Test is nil to inherit, {"NONE"}, {"CMD", args...} or {"CMD-SHELL", command}.
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// Clone returns a deep copy.
func (c Config) Clone() Config {
	c.ExposedPorts = maps.Clone(c.ExposedPorts)
	c.Env = slices.Clone(c.Env)
	c.Entrypoint = slices.Clone(c.Entrypoint)
	c.Cmd = slices.Clone(c.Cmd)
	c.Volumes = maps.Clone(c.Volumes)
	c.Labels = maps.Clone(c.Labels)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	c.OnBuild = slices.Clone(c.OnBuild)
	c.Shell = slices.Clone(c.Shell)
	return c
}

// Validate says what of the configuration an image cannot hold: it is kept as JSON, which
// has no bytes that are not UTF-8. The error matches ErrInvalid.
func (c Config) Validate() error {
	var health []string
	if c.Healthcheck != nil {
		health = c.Healthcheck.Test
	}
	for _, part := range []struct {
		name  string
		texts []string
	}{
		{"user", []string{c.User}}, {"working directory", []string{c.WorkingDir}}, {"stop signal", []string{c.StopSignal}},
		{"environment", c.Env}, {"entrypoint", c.Entrypoint}, {"command", c.Cmd}, {"shell", c.Shell},
		{"health check", health}, {"ONBUILD trigger", c.OnBuild},
		{"port", slices.Collect(maps.Keys(c.ExposedPorts))}, {"volume", slices.Collect(maps.Keys(c.Volumes))},
		{"label", slices.Collect(maps.Keys(c.Labels))}, {"label", slices.Collect(maps.Values(c.Labels))},
	} {
		for _, text := range part.texts {
			if err := checkUTF8(part.name, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkUTF8 checks a text that an image is to hold.
func checkUTF8(name, text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	return fmt.Errorf("%w: the %s %q is not UTF-8, and an image can hold nothing else there", ErrInvalid, name, text)
}
