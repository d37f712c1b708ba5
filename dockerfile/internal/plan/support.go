package plan

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/dockerfile/internal/runflags"
)

// checkStage finds what a stage asks for that cannot be done.
func (p *Plan) checkStage(s *Stage) error {
	if s.fault != nil {
		return s.fault
	}
	if err := checkPlatform(s.Platform); err != nil {
		return &Fault{Line: s.Line, End: s.End, Err: err}
	}
	for _, c := range s.Commands {
		if err := p.checkCommand(c); err != nil {
			return err
		}
	}
	return nil
}

// checkCommand finds what an instruction asks for that cannot be done. Values that
// have variables are left to CheckFiles.
func (p *Plan) checkCommand(c Command) error {
	var err error
	noContext := p.opts.NoContext
	switch ic := c.Command.(type) {
	case *instructions.RunCommand:
		err = p.checkRun(ic, c.Mounts)
	case *instructions.CopyCommand:
		switch {
		case ic.From == "" && noContext && len(ic.SourcePaths) > 0:
			err = errors.New("COPY: there is no build context to copy from")
		default:
			err = checkFiles("COPY", ic.SourcesAndDest, flags{chmod: ic.Chmod, chown: ic.Chown, link: ic.Link}, true)
		}
	case *instructions.AddCommand:
		err = checkFiles("ADD", ic.SourcesAndDest, addFlags(ic), true)
		local := func(source string) bool { return !isRemote(source) && !strings.Contains(source, "$") }
		if err == nil && noContext && slices.ContainsFunc(ic.SourcePaths, local) {
			err = errors.New("ADD: there is no build context to add from")
		}
	}
	if err == nil {
		return nil
	}
	f := &Fault{Line: c.Line, End: c.End, Err: err}
	if hinting, ok := err.(interface{ Hint() string }); ok {
		f.Hint = hinting.Hint()
	}
	if c.Trigger {
		f.Err = fmt.Errorf("ONBUILD trigger %q of the base: %w", Redact(c.Source), err)
	}
	return f
}

func (p *Plan) checkRun(c *instructions.RunCommand, mounts []runflags.Mount) error {
	ofContext := func(m runflags.Mount) bool { return m.Type == runflags.Bind && !m.Partial && !m.HasFrom }
	if p.opts.NoContext && slices.ContainsFunc(mounts, ofContext) {
		return errors.New("RUN --mount=type=bind: there is no build context to mount; from= names a stage or an image")
	}
	if err := runflags.Allowed(c, p.opts.Allow); err != nil {
		return err
	}
	_, _, err := RunArgs(c, nil)
	return err
}

// CheckFiles checks the sources, the destination and the flags of a COPY or ADD
// whose variables have been replaced.
func CheckFiles(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.CopyCommand:
		return checkFiles("COPY", c.SourcesAndDest, flags{chmod: c.Chmod, chown: c.Chown, link: c.Link}, false)
	case *instructions.AddCommand:
		return checkFiles("ADD", c.SourcesAndDest, addFlags(c), false)
	}
	return nil
}

// flags are those that COPY and ADD share.
type flags struct {
	chmod, chown string
	link         bool
	checksum     string
}

func addFlags(c *instructions.AddCommand) flags {
	return flags{chmod: c.Chmod, chown: c.Chown, link: c.Link, checksum: c.Checksum}
}

// checkFiles is CheckFiles for both; with raw, texts with variables pass.
func checkFiles(name string, files instructions.SourcesAndDest, f flags, raw bool) error {
	known := func(text string) bool { return !raw || !strings.Contains(text, "$") }
	for _, source := range files.SourcePaths {
		if !known(source) || !known(f.checksum) {
			continue
		}
		if name == "COPY" && isRemote(source) {
			return fmt.Errorf("COPY %s: only ADD takes a URL", Redact(source))
		}
		if err := checkRemote(source, f.checksum); err != nil {
			return err
		}
	}
	if f.checksum != "" && len(files.SourcePaths)+len(files.SourceContents) > 1 {
		return errors.New("ADD --checksum is for one source")
	}
	if known(f.chown) && f.link && !numericOwner().MatchString(f.chown) {
		return fmt.Errorf("%s --link --chown=%s: names cannot be looked up, for the layer does not depend on those below; give numbers", name, f.chown)
	}
	if f.chmod != "" && known(f.chmod) {
		return checkMode(name, f.chmod)
	}
	return nil
}

// numericOwner matches the owners that need no looking up.
var numericOwner = lazy(`^(?:[0-9]+|root)?(?::(?:[0-9]+|root)?)?$`)

// symbolicMode matches the symbolic modes of chmod(1).
var symbolicMode = lazy(`^[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+(?:,[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)*$`)

// checkMode checks a --chmod.
func checkMode(name, chmod string) error {
	mode, err := strconv.ParseUint(chmod, 8, 32)
	switch {
	case err == nil && mode <= 0o7777, symbolicMode().MatchString(chmod):
		return nil
	case err == nil || strings.Trim(chmod, "0123456789") == "":
		return fmt.Errorf("%s --chmod=%s: not an octal mode from 0 to 7777", name, chmod)
	}
	return fmt.Errorf("%s --chmod=%s: neither an octal mode nor a symbolic one such as u=rwX,go=rX", name, chmod)
}
