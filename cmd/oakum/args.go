package main

import (
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/builder/display"
)

// arrange rewrites a command line as a user of docker or podman writes it into the
// only form that urfave/cli reads reliably:
//
//	verb --flag=value ... -- argument ...
//
// Flags may stand before, between and after the arguments (urfave/cli silently
// takes those after the first argument for arguments); the store's flags may stand
// before the verb; short flags may be joined (-qt name, -tname); --help and
// --version become verbs. Flags of other builders are taken away and give warnings
// or errors, see foreign.go. Unknown verbs and flags are usage errors that name
// the nearest known one.
func arrange(app *cli.App, args []string) (line, warnings []string, err error) {
	global := scanner{flags: app.Flags, where: app.Name, stopAtArgument: true}
	if err := global.scan(args); err != nil {
		return nil, nil, err
	}
	switch {
	case global.help:
		return []string{"help"}, nil, nil
	case global.version:
		return []string{"version"}, nil, nil
	case len(global.arguments) == 0:
		return []string{"help"}, nil, nil
	}
	words := global.arguments
	if len(words) > 1 && isGroup(app, words[0]) {
		// docker buildx --builder NAME build
		group := scanner{flags: app.Flags, command: "build", where: app.Name + " " + words[0], stopAtArgument: true}
		if err := group.scan(words[1:]); err != nil {
			return nil, nil, err
		}
		if group.help {
			return []string{"help"}, nil, nil
		}
		words = append(words[:1:1], group.arguments...)
		global.options = append(global.options, group.options...)
		global.foreign = append(global.foreign, group.foreign...)
	}
	cmd, rest, err := findCommand(app, words)
	if err != nil {
		return nil, nil, err
	}
	own := scanner{flags: cmd.Flags, command: cmd.Name, where: app.Name + " " + cmd.Name, stopAtArgument: optionsFirst(cmd)}
	if err := own.scan(rest); err != nil {
		return nil, nil, err
	}
	if own.help {
		return []string{"help", cmd.Name}, nil, nil
	}
	more, err := variableUses(cmd.Name, own.foreign, os.LookupEnv)
	if err != nil {
		return nil, nil, err
	}
	warnings, err = foreignWarnings(slices.Concat(global.foreign, own.foreign, more), own.options)
	if err != nil {
		return nil, nil, err
	}
	line = []string{cmd.Name}
	for _, f := range global.options {
		if lookupFlag(cmd.Flags, f.name) != nil { // version has no use for --root
			line = append(line, f.text)
		}
	}
	for _, f := range own.options {
		line = append(line, f.text)
	}
	return append(append(line, "--"), own.arguments...), warnings, nil
}

// findCommand finds the command that words begin with, which is one or, as in
// "image ls", two of them.
func findCommand(app *cli.App, words []string) (*cli.Command, []string, error) {
	if len(words) > 1 {
		if cmd := app.Command(words[0] + " " + words[1]); cmd != nil {
			return cmd, words[2:], nil
		}
	}
	if cmd := app.Command(words[0]); cmd != nil {
		return cmd, words[1:], nil
	}
	return nil, nil, unknownCommand(app, words)
}

// optionsFirst says whether all that follows a command's first argument belongs to
// that argument, as in "run IMAGE ls -l".
func optionsFirst(cmd *cli.Command) bool { return cmd.Name == "run" }

// option is a flag in its canonical form, --name or --name=value.
type option struct{ name, text string }

// scanner splits arguments into options and the rest.
type scanner struct {
	flags          []cli.Flag
	command        string // whose foreign flags are known
	where          string // the command, for messages
	stopAtArgument bool

	options       []option
	arguments     []string
	help, version bool
	foreign       []foreignUse
}

func (s *scanner) scan(args []string) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var used int
		var err error
		switch {
		case arg == "--":
			s.arguments = append(s.arguments, args...)
			return nil
		case strings.HasPrefix(arg, "--"):
			used, err = s.long(arg, args)
		case len(arg) > 1 && arg[0] == '-':
			used, err = s.short(arg, args)
		default:
			s.arguments = append(s.arguments, arg)
			if s.stopAtArgument {
				s.arguments = append(s.arguments, args...)
				return nil
			}
		}
		if err != nil {
			return err
		}
		args = args[used:]
	}
	return nil
}

// long reads --name, --name=value or --name value and returns how many of the
// following arguments it used.
func (s *scanner) long(arg string, next []string) (int, error) {
	name, value, hasValue := strings.Cut(arg[2:], "=")
	f := lookupFlag(s.flags, name)
	switch {
	case f == nil && len(name) > 1 && s.special(name):
		return 0, nil
	case f == nil || len(name) == 1:
		if foreign, ok := lookupForeign(s.command, name); ok && len(name) > 1 {
			return s.longForeign(foreign, arg, next)
		}
		return 0, s.unknownFlag("--" + name)
	case hasValue:
		s.add(f, "="+value)
		return 0, nil
	case valueOptional(f):
		s.add(f, "")
		return 0, nil
	case len(next) == 0:
		return 0, usagef("flag --%s of %s needs a value", name, s.where)
	}
	s.add(f, "="+next[0])
	return 1, nil
}

// short reads -a, -abc, -nvalue, -n=value or -n value.
func (s *scanner) short(arg string, next []string) (int, error) {
	for i, letter := range arg[1:] {
		name, rest := string(letter), arg[1+i+len(string(letter)):]
		f := lookupFlag(s.flags, name)
		switch {
		case f == nil && s.special(name):
			return 0, nil
		case f == nil:
			foreign, ok := lookupForeign(s.command, name)
			if !ok {
				return 0, s.unknownShort(arg, name)
			}
			if more, used, err := s.shortForeign(foreign, name, rest, next); !more {
				return used, err
			}
		case valueOptional(f) && strings.HasPrefix(rest, "="):
			s.add(f, rest)
			return 0, nil
		case valueOptional(f):
			s.add(f, "")
		case rest != "":
			s.add(f, "="+strings.TrimPrefix(rest, "="))
			return 0, nil
		case len(next) == 0 && s.special(name): // -h alone, where -h NAME means something else
			return 0, nil
		case len(next) == 0:
			return 0, usagef("flag -%s of %s needs a value", name, s.where)
		default:
			s.add(f, "="+next[0])
			return 1, nil
		}
	}
	return 0, nil
}

// add adds an option. urfave/cli copies lists of values as JSON, which keeps only UTF-8;
// function values decodes them.
func (s *scanner) add(f cli.Flag, value string) {
	name := f.Names()[0]
	if _, several := f.(*stringSliceFlag); several {
		value = bytetext.Encode(value)
	}
	s.options = append(s.options, option{name: name, text: "--" + name + value})
}

// values gives the values of a flag that may be repeated.
func values(c *cli.Context, name string) []string {
	texts := c.StringSlice(name)
	for i, text := range texts {
		texts[i] = bytetext.Decode(text)
	}
	return texts
}

// special recognises the two flags that are verbs in truth.
func (s *scanner) special(name string) bool {
	switch name {
	case "help", "h":
		s.help = true
	case "version", "v":
		s.version = true
		return !strings.Contains(s.where, " ")
	default:
		return false
	}
	return true
}

// longForeign reads --name, --name=value or --name value of another builder.
func (s *scanner) longForeign(f foreignFlag, arg string, next []string) (int, error) {
	typed, value, hasValue := strings.Cut(arg, "=")
	switch {
	case hasValue:
		return 0, s.addForeign(f, typed, value)
	case f.value == "":
		return 0, s.addForeign(f, typed, "true")
	case len(next) == 0:
		return 0, usagef("flag %s of %s needs a value", typed, s.where)
	}
	return 1, s.addForeign(f, typed, next[0])
}

// shortForeign reads -n of another builder, followed by rest in the same argument, and
// by next. More says that rest is to be read on.
func (s *scanner) shortForeign(f foreignFlag, name, rest string, next []string) (more bool, used int, err error) {
	typed := "-" + name
	switch {
	case f.value == "" && strings.HasPrefix(rest, "="):
		return false, 0, s.addForeign(f, typed, rest[1:])
	case f.value == "":
		err := s.addForeign(f, typed, "true")
		return err == nil, 0, err
	case rest != "":
		return false, 0, s.addForeign(f, typed, strings.TrimPrefix(rest, "="))
	case len(next) == 0:
		return false, 0, usagef("flag %s of %s needs a value", typed, s.where)
	}
	return false, 1, s.addForeign(f, typed, next[0])
}

func (s *scanner) addForeign(f foreignFlag, typed, value string) error {
	use, err := f.use(typed, value)
	if err == nil {
		s.foreign = append(s.foreign, use)
	}
	return err
}

// unknownShort is the error for the letter name of arg. A long flag may have been
// meant: -tag.
func (s *scanner) unknownShort(arg, name string) error {
	err := s.unknownFlag("-" + name)
	long, _, _ := strings.Cut(arg[1:], "=")
	if len(long) > 1 && (lookupFlag(s.flags, long) != nil || isForeign(s.command, long)) {
		err.hint = "did you mean --" + long + "?"
	}
	return err
}

func isForeign(command, name string) bool {
	_, ok := lookupForeign(command, name)
	return ok
}

func (s *scanner) unknownFlag(text string) *usageError {
	var known []string
	for _, f := range s.flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				known = append(known, "--"+name)
			}
		}
	}
	for _, f := range foreignFlags[s.command] {
		for _, name := range f.list() {
			if len(name) > 1 {
				known = append(known, "--"+name)
			}
		}
	}
	err := usagef("unknown flag %s for %s", display.Line(text), s.where)
	err.hint = didYouMean(text, known)
	if err.hint == "" {
		err.hint = s.where + " --help lists the flags"
	}
	return err
}

// isGroup says that commands of two words begin with word.
func isGroup(app *cli.App, word string) bool {
	return slices.ContainsFunc(app.Commands, func(cmd *cli.Command) bool {
		return slices.ContainsFunc(cmd.Names(), func(name string) bool { return strings.HasPrefix(name, word+" ") })
	})
}

// unknownCommand is the error for words that begin with no command.
func unknownCommand(app *cli.App, words []string) error {
	name, known := words[0], []string{}
	for _, cmd := range app.Commands {
		known = append(known, cmd.Names()...)
	}
	last := name
	if isGroup(app, name) && len(words) > 1 {
		last = words[1]
		name += " " + last
	}
	err := usagef("unknown command %q", name)
	for _, known := range []string{name, last} {
		if words, ok := foreignCommands[known]; ok {
			return usagef("oakum has no command %q: %s", name, words)
		}
	}
	err.hint = didYouMean(name, known)
	if err.hint == "" {
		err.hint = app.Name + " help lists the commands"
	}
	return err
}

func lookupFlag(flags []cli.Flag, name string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return flags[i]
}

// valueOptional says whether the flag may stand without a value: a switch, or one
// such as --pull whose Value says so in the manner of package flag.
func valueOptional(f cli.Flag) bool {
	switch f := f.(type) {
	case *boolFlag:
		return true
	case *cli.GenericFlag:
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		return ok && b.IsBoolFlag()
	}
	return false
}
