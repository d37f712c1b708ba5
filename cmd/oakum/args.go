package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange rewrites a command line as a user of docker or podman writes it into the
// only form that urfave/cli reads reliably:
//
//	verb --flag=value ... -- argument ...
//
// Flags may stand before, between and after the arguments (urfave/cli silently
// takes those after the first argument for arguments); the store's flags may stand
// before the verb; short flags may be joined (-qt name, -tname); --help and
// --version become verbs. Unknown verbs and flags are usage errors that name
// the nearest known one.
func arrange(app *cli.App, args []string) ([]string, error) {
	global := scanner{flags: app.Flags, where: app.Name, stopAtArgument: true}
	if err := global.scan(args); err != nil {
		return nil, err
	}
	switch {
	case global.help:
		return []string{"help"}, nil
	case global.version:
		return []string{"version"}, nil
	case len(global.arguments) == 0:
		return []string{"help"}, nil
	}
	cmd := app.Command(global.arguments[0])
	if cmd == nil {
		return nil, unknownCommand(app, global.arguments[0])
	}
	own := scanner{flags: cmd.Flags, where: app.Name + " " + cmd.Name, stopAtArgument: optionsFirst(cmd)}
	if err := own.scan(global.arguments[1:]); err != nil {
		return nil, err
	}
	if own.help {
		return []string{"help", cmd.Name}, nil
	}
	line := []string{cmd.Name}
	for _, f := range global.options {
		if lookupFlag(cmd.Flags, f.name) != nil { // version has no use for --root
			line = append(line, f.text)
		}
	}
	for _, f := range own.options {
		line = append(line, f.text)
	}
	return append(append(line, "--"), own.arguments...), nil
}

// optionsFirst says whether all that follows a command's first argument belongs to
// that argument, as in "run IMAGE ls -l".
func optionsFirst(cmd *cli.Command) bool { return cmd.Name == "run" }

// option is a flag in its canonical form, --name or --name=value.
type option struct{ name, text string }

// scanner splits arguments into options and the rest.
type scanner struct {
	flags          []cli.Flag
	where          string // the command, for messages
	stopAtArgument bool

	options       []option
	arguments     []string
	help, version bool
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
	case f == nil || len(name) == 1:
		if s.special(name) {
			return 0, nil
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
		case f == nil:
			if s.special(name) {
				return 0, nil
			}
			return 0, s.unknownFlag("-" + name)
		case valueOptional(f) && strings.HasPrefix(rest, "="):
			s.add(f, rest)
			return 0, nil
		case valueOptional(f):
			s.add(f, "")
		case rest != "":
			s.add(f, "="+strings.TrimPrefix(rest, "="))
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

func (s *scanner) add(f cli.Flag, value string) {
	name := f.Names()[0]
	s.options = append(s.options, option{name: name, text: "--" + name + value})
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

func (s *scanner) unknownFlag(text string) error {
	var known []string
	for _, f := range s.flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				known = append(known, "--"+name)
			}
		}
	}
	err := usagef("unknown flag %s for %s", text, s.where)
	err.hint = didYouMean(text, known)
	if err.hint == "" {
		err.hint = s.where + " --help lists the flags"
	}
	return err
}

func unknownCommand(app *cli.App, name string) error {
	var known []string
	for _, cmd := range app.Commands {
		known = append(known, cmd.Names()...)
	}
	err := usagef("unknown command %q", name)
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
	case *cli.BoolFlag:
		return true
	case *cli.GenericFlag:
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		return ok && b.IsBoolFlag()
	}
	return false
}
