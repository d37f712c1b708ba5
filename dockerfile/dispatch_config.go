package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

func (t *task) arg(c *instructions.ArgCommand) error {
	text, err := t.scope.Declare(c)
	if err != nil {
		return err
	}
	t.fs.Configure(text, func(*builder.Config) {})
	return nil
}

func (t *task) env(c *instructions.EnvCommand) {
	for _, kv := range c.Env {
		t.scope.Set(kv.Key, kv.Value)
	}
	t.fs.Configure("ENV"+pairs(c.Env), func(config *builder.Config) {
		config.Env = slices.Clone(config.Env)
		for _, kv := range c.Env {
			config.Env = plan.SetEnv(config.Env, kv.Key, kv.Value)
		}
	})
}

// pairs writes " k=v" for each.
func pairs(kvs instructions.KeyValuePairs) string {
	var text strings.Builder
	for _, kv := range kvs {
		text.WriteString(" " + kv.String())
	}
	return text.String()
}

func (t *task) label(c *instructions.LabelCommand) {
	t.fs.Configure("LABEL"+pairs(c.Labels), func(config *builder.Config) {
		labels := map[string]string{}
		for _, kv := range c.Labels {
			labels[kv.Key] = kv.Value
		}
		config.Labels = merged(config.Labels, labels)
	})
}

func (t *task) cmd(c *instructions.CmdCommand) {
	args := plan.Args(c.ShellDependantCmdLine, t.fs.Config().Shell)
	t.cmdSet = true
	t.fs.Configure(fmt.Sprintf("CMD %q", args), func(config *builder.Config) { config.Cmd = args })
}

// entrypoint does ENTRYPOINT, which drops the CMD of the base, made for another
// entrypoint, but not one of this stage.
func (t *task) entrypoint(c *instructions.EntrypointCommand) {
	args := plan.Args(c.ShellDependantCmdLine, t.fs.Config().Shell)
	t.fs.Configure(fmt.Sprintf("ENTRYPOINT %q", args), func(config *builder.Config) {
		config.Entrypoint = args
		if !t.cmdSet {
			config.Cmd = nil
		}
	})
}

func (t *task) user(c *instructions.UserCommand) {
	t.fs.Configure("USER "+c.User, func(config *builder.Config) { config.User = c.User })
}

func (t *task) expose(c *instructions.ExposeCommand) error {
	var specs []string
	for _, word := range c.Ports {
		words, err := t.scope.Words(word)
		if err != nil {
			return err
		}
		specs = append(specs, words...)
	}
	ports := map[string]struct{}{}
	var listed []string
	for _, spec := range specs {
		expanded, err := exposed(spec)
		if err != nil {
			return fmt.Errorf("EXPOSE %s: %w", spec, err)
		}
		for _, port := range expanded {
			ports[port] = struct{}{}
		}
		listed = append(listed, expanded...)
	}
	t.fs.Configure(fmt.Sprintf("EXPOSE %v", listed), func(config *builder.Config) {
		config.ExposedPorts = merged(config.ExposedPorts, ports)
	})
	return nil
}

func (t *task) volume(c *instructions.VolumeCommand) error {
	volumes := map[string]struct{}{}
	for _, v := range c.Volumes {
		if v == "" {
			return errors.New("VOLUME: the path is blank")
		}
		volumes[v] = struct{}{}
	}
	t.fs.Configure(fmt.Sprintf("VOLUME %v", c.Volumes), func(config *builder.Config) {
		config.Volumes = merged(config.Volumes, volumes)
	})
	return nil
}

func (t *task) shell(c *instructions.ShellCommand) {
	t.fs.Configure(fmt.Sprintf("SHELL %v", c.Shell), func(config *builder.Config) { config.Shell = c.Shell })
}

func (t *task) stopSignal(c *instructions.StopSignalCommand) error {
	if err := checkSignal(c.Signal); err != nil {
		return fmt.Errorf("STOPSIGNAL %s: %w", c.Signal, err)
	}
	t.fs.Configure("STOPSIGNAL "+c.Signal, func(config *builder.Config) { config.StopSignal = c.Signal })
	return nil
}

func (t *task) healthcheck(c *instructions.HealthCheckCommand) {
	check := builder.Healthcheck{
		Test:          c.Health.Test,
		Interval:      c.Health.Interval,
		Timeout:       c.Health.Timeout,
		StartPeriod:   c.Health.StartPeriod,
		StartInterval: c.Health.StartInterval,
		Retries:       c.Health.Retries,
	}
	t.fs.Configure(fmt.Sprintf("HEALTHCHECK %+v", check), func(config *builder.Config) { config.Healthcheck = &check })
}

func (t *task) maintainer(c *instructions.MaintainerCommand) error {
	if !utf8.ValidString(c.Maintainer) {
		return fmt.Errorf("MAINTAINER: %w: %q is not UTF-8, and an image can hold nothing else there", builder.ErrInvalid, c.Maintainer)
	}
	t.author = c.Maintainer
	t.fs.Configure("MAINTAINER "+c.Maintainer, func(*builder.Config) {})
	return nil
}

// onbuild does ONBUILD, which BuildKit leaves out of the history.
func (t *task) onbuild(c *instructions.OnbuildCommand) {
	t.fs.Configure("", func(config *builder.Config) {
		config.OnBuild = append(slices.Clone(config.OnBuild), c.Expression)
	})
}
