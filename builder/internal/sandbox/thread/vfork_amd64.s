//go:build linux && (amd64 || arm64)

#include "textflag.h"

// func vfork(flags uintptr) (pid, errno uintptr)
//
// The new process has this one's stack until it executes a program: it returns first, calls what it
// likes, and so overwrites the return address, which is kept in a register instead.
TEXT ·vfork(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ flags+0(FP), DI
	MOVQ 0(SP), R12
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $56, AX // clone
	SYSCALL
	MOVQ R12, 0(SP)
	MOVQ $0, errno+16(FP)
	MOVQ AX, pid+8(FP)
	CMPQ AX, $0xfffffffffffff001
	JCS  done
	NEGQ AX
	MOVQ AX, errno+16(FP)
	MOVQ $0, pid+8(FP)

done:
	RET
