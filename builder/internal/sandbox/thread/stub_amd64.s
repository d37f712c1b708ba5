//go:build linux && (amd64 || arm64)

#include "textflag.h"

// Code of a program of its own, which is never called here (stub.go). The stack is what the kernel
// gives a new program: the number of arguments, the arguments, and the variables.
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ 8(SP), BX // the candidate
	MOVQ BX, R12

find: // the command's arguments are behind an empty one
	MOVQ  0(R12), AX
	TESTQ AX, AX
	JZ    end
	ADDQ  $8, R12
	CMPB  0(AX), $0
	JNE   find
	MOVQ  R12, R13

variables: // and its variables behind those and a nil
	MOVQ  0(R13), AX
	ADDQ  $8, R13
	TESTQ AX, AX
	JNZ   variables

	MOVL  $72, AX // fcntl(3, F_SETFD, FD_CLOEXEC)
	MOVL  $3, DI
	MOVL  $2, SI
	MOVL  $1, DX
	SYSCALL
	TESTQ AX, AX
	JNZ   end
	MOVL  $2, R14 // ENOENT, if nothing else

try:
	MOVQ 0(BX), DI
	CMPB 0(DI), $0
	JEQ  report
	MOVQ R12, SI
	MOVQ R13, DX
	MOVL $59, AX // execve
	SYSCALL
	ADDQ $8, BX
	NEGQ AX
	CMPQ AX, $2 // ENOENT
	JEQ  try
	CMPQ AX, $20 // ENOTDIR
	JEQ  try
	MOVQ AX, R14
	CMPQ AX, $13 // EACCES
	JEQ  try

report:
	PUSHQ R14
	MOVL  $1, AX // write
	MOVL  $3, DI
	MOVQ  SP, SI
	MOVL  $4, DX
	SYSCALL

end:
	MOVL $231, AX // exit_group
	MOVL $126, DI
	SYSCALL
	INT  $3       // a filter may refuse that, but not the signal for this

// func stubCode() uintptr
TEXT ·stubCode(SB), NOSPLIT|NOFRAME, $0-8
	LEAQ ·stub(SB), AX
	MOVQ AX, ret+0(FP)
	RET
