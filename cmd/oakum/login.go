package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/login"
)

// maxPassword bounds a password on standard input; tokens have some kilobytes.
const maxPassword = 64 << 10

// loginPlaceFlags say where logins are kept.
func loginPlaceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "authfile", EnvVars: []string{"REGISTRY_AUTH_FILE"}, Usage: "keep the login in `FILE` instead of in the session's auth.json"},
		&cli.StringFlag{Name: "compat-auth-file", Usage: "keep the login in `FILE`, a config.json of Docker's"},
	}
}

func loginPlace(c *cli.Context) (login.Place, error) {
	l := login.Place{AuthFile: c.String("authfile"), Docker: c.String("compat-auth-file")}
	if l.Docker != "" {
		if c.IsSet("authfile") {
			return l, usagef("--authfile and --compat-auth-file exclude each other")
		}
		l.AuthFile = "" // of the variable
	}
	return l, nil
}

func loginCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "log in to a registry",
		ArgsUsage: "[REGISTRY]",
		Description: "Asks the registry (default: docker.io) whether it takes the user name and password, and keeps them where Podman does, " +
			"for oakum, Podman, Buildah and Skopeo. REGISTRY may go on to a namespace: registry.example/team. On a terminal what is missing is asked for.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "username", Aliases: []string{"u"}, Usage: "log in as `USER`"},
			&cli.StringFlag{Name: "password", Aliases: []string{"p"}, Usage: "with `PASSWORD`, which others of this machine can see while the command runs"},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from standard input"},
			&cli.BoolFlag{Name: "get-login", Usage: "only print the user who is logged in"},
			&cli.StringFlag{Name: "cert-dir", Usage: "take client certificates and CAs from `DIR`"},
			&cli.BoolFlag{Name: "tls-verify", Usage: "require HTTPS and check certificates; without the flag, registries.conf decides"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say where the login is kept"},
		}, loginPlaceFlags()...),
		Action: func(c *cli.Context) error { return logIn(c, std) },
	}
}

func logIn(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	place, err := loginPlace(c)
	if err != nil {
		return err
	}
	registry := registryArgument(c)
	if c.Bool("get-login") {
		user, err := place.User(c.Context, registry)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(std.out, user)
		return err
	}
	reg := builder.Registry{CertDir: c.String("cert-dir")}
	if c.IsSet("tls-verify") {
		verify := c.Bool("tls-verify")
		reg.TLSVerify = &verify
	}
	if reg.Username, reg.Password, err = whoLogsIn(c, std); err != nil {
		return err
	}
	where, err := place.LogIn(c.Context, registry, reg)
	if err != nil {
		return err
	}
	if c.Bool("verbose") {
		fmt.Fprintf(std.out, "the login is kept in %s\n", where)
	}
	_, err = fmt.Fprintln(std.out, "Login Succeeded!") // scripts of others look for it
	return err
}

func registryArgument(c *cli.Context) string {
	if c.NArg() == 0 {
		return "docker.io"
	}
	return c.Args().First()
}

// whoLogsIn takes user and password from the flags and standard input, or asks for them.
func whoLogsIn(c *cli.Context, std streams) (user, password string, err error) {
	user, password = c.String("username"), c.String("password")
	switch {
	case c.Bool("password-stdin") && c.IsSet("password"):
		return "", "", usagef("--password and --password-stdin exclude each other")
	case c.Bool("password-stdin") && user == "":
		return "", "", usagef("--password-stdin needs --username")
	case c.Bool("password-stdin"):
		text, err := io.ReadAll(io.LimitReader(std.in, maxPassword))
		if err != nil {
			return "", "", fmt.Errorf("reading the password: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	case c.IsSet("password"):
		fmt.Fprintln(std.err, "warning: --password can be seen by others of this machine; --password-stdin cannot")
	}
	in, _ := std.in.(*os.File)
	ask := asker{ctx: c.Context, in: in, out: std.err}
	if user == "" {
		if user, err = ask.line("Username: ", true); err != nil {
			return "", "", err
		}
	}
	if password == "" && !c.Bool("password-stdin") {
		if password, err = ask.line("Password: ", false); err != nil {
			return "", "", err
		}
	}
	if user == "" || password == "" {
		return "", "", errors.New("a login needs a user name and a password")
	}
	return user, password, nil
}

// asker asks on a terminal.
type asker struct {
	ctx context.Context
	in  *os.File
	out io.Writer
}

// line asks for a line, which with echo false is not shown.
func (a asker) line(prompt string, echo bool) (string, error) {
	if !isTerminal(a.in) {
		return "", usagef("there is no terminal to ask on: give --username USER and --password-stdin")
	}
	if !echo {
		restore, err := changeTerminal(a.ctx, a.in, silent)
		if err != nil {
			return "", fmt.Errorf("hiding what is typed: %w", err)
		}
		defer func() {
			restore()
			fmt.Fprintln(a.out)
		}()
	}
	fmt.Fprint(a.out, prompt)
	typed := make(chan string, 1)
	go func() { // when nobody waits any more, the program ends
		text, _ := bufio.NewReader(oneByOne{a.in}).ReadString('\n')
		typed <- strings.TrimRight(text, "\r\n")
	}()
	select {
	case text := <-typed:
		return text, nil
	case <-a.ctx.Done():
		return "", a.ctx.Err()
	}
}

// oneByOne leaves what comes after the line to who reads next.
type oneByOne struct{ io.Reader }

func (r oneByOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func logoutCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "logout",
		Usage:       "forget the login for a registry",
		ArgsUsage:   "[REGISTRY]",
		Description: "Forgets what oakum login or podman login keeps for the registry (default: docker.io).",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "forget all logins"},
		}, loginPlaceFlags()...),
		Action: func(c *cli.Context) error { return logout(c, std) },
	}
}

func logout(c *cli.Context, std streams) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	place, err := loginPlace(c)
	if err != nil {
		return err
	}
	if c.Bool("all") {
		if c.NArg() > 0 {
			return usagef("--all and a registry exclude each other")
		}
		if _, err := place.LogOut(c.Context, ""); err != nil {
			return err
		}
		_, err := fmt.Fprintln(std.out, "Removed all login credentials")
		return err
	}
	registry := registryArgument(c)
	remains, err := place.LogOut(c.Context, registry)
	if err != nil && remains != "" {
		return fmt.Errorf("%w; the login of %s is kept elsewhere: in Docker's config.json (docker logout, or --compat-auth-file), DOCKER_AUTH_CONFIG or another auth.json", err, remains)
	}
	if err != nil {
		return err
	}
	if remains != "" {
		fmt.Fprintf(std.err, "warning: there is another login for %s, as %s: in Docker's config.json, DOCKER_AUTH_CONFIG or another auth.json\n", registry, remains)
	}
	_, err = fmt.Fprintf(std.out, "Removed login credentials for %s\n", registry)
	return err
}
