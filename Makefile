# SPDX-License-Identifier: MIT
#
#   make              the library and the example programs
#   make mpi=1        the same, with an lm that trains in several processes: mpirun -n 2 build/.../examples/lm train
#                     --accumulate 2; MPICC=mpicc.mpich: by another MPI than the default one
#   make train        trains the toy language model on the bundled text and shows samples
#   make exercise N=1 a backward to write yourself, from softmax to a training step: judged, with a hint (folder=exercises)
#   make test         builds and runs the tests; installs Check first when it is missing
#   make bench        measures all that docs/performance.md shows, beside PyTorch and OpenBLAS where they are installed;
#                     about 25 minutes (parts=steps,isa,gemm,op,generation,tokens,busy,start,growth,profile,wasm:
#                     some; rounds=N; run_c=PATH: beside llama2.c's run.c)
#   make bench-growth measures how a step's time grows with each size, alone
#   make bench-docs   writes what it measured into README.md and docs/performance.md, with the pictures
#   make bench-attention  attention's time and memory for T = 4k .. 64k, causal and windowed; takes some minutes
#   make bench-mpi    what a message and a byte cost between processes, for docs/data-parallel.md (mpi=1 np=N mpirun=COMMAND)
#   make profile      where the time of a training step goes, by op and by module (model=toy|tiny|baby|long)
#   make bench-gemm   times the matrix product, beside OpenBLAS when it is installed
#   make check-quick  what to run after every edit: the core's suites, layers, layout; under two minutes
#   make format       lets clang-format rewrite the C lines that differ from the last commit (files='a.c b.h': of these)
#   make check-format layout: columns, blanks, braces, spaces, indentation
#   make core         builds the core without its annexes, trains an attention head with it, prints the lines of its parts
#   make check-layers tensor <- autograd <- nn <- examples, and no core folder uses an annex
#   make check-threads  ThreadSanitizer, which clang has, on the hand-over of work between threads
#   make fuzz         feeds readers of files and options mutated inputs, with clang's fuzzer (seconds=N each, only=NAME)
#   make soak         a million toy steps and a hundred thousand generations: flat memory, the same bits
#   make differential random cases against PyTorch and the transformers package, where python3 has them (minutes=N,
#                     seed=S repeats a run, only=KIND); a case that fails is shrunk and printed as a C program
#   make gradcheck-proof  random functions, right and wrong: the gradient checker must not err (cases=N: seeds 1 to N, or A-B)
#   make gradcheck-kinds  the kinds of mistakes in a backward, in double and in float: is the right cause named?
#   make crash-proof  training runs that are killed, stopped or out of disk at random moments go on with the same bits
#   make platforms    builds for other machines by the cross compilers that are installed, and runs the suites there, by
#                     qemu and Wine; for Windows and macOS by zig (only='i686 musl aarch64 riscv64 s390x windows macos-arm
#                     macos-x86': some)
#   make mutants      plants faults in a copy: tests must catch each; writes docs/mutants.md (only=WORD: some, and no file)
#   make check-mpi    lm in 1, 2 and 4 processes, by each of Open MPI and MPICH that is installed: the same bytes, kill -9
#   make check-tokenizers  the ids of random texts, against the tokenizers package (count=2000, files='a/tokenizer.json ...')
#   make wasm         the library for WebAssembly (build/wasm), and its suites in Node; skipped where a tool is missing
#   make explorer     build/wasm/explorer.html: attention's gradients to touch, one page that works without a network
#   make check-explorer  the page in headless Chromium, against the programs explorer and attention_gradients
#   make install      the library, its headers, programs and manual pages (PREFIX=/usr/local LIBDIR=PREFIX/lib DESTDIR=)
#   make uninstall    removes what the same `make install` wrote
#   make release      the library as two files, attngrad.h and attngrad.c, and a tarball, in build/dist (needs python3, git)
#   make check-release  compiles them as users do, and runs the suites with them
#   make check-compilers  the same by each compiler that is here, for C99 to C23, with link-time optimisation, no suites
#   make deb          Debian packages of the last commit, in build/dist/debian, and what lintian says of them
#   make clean        removes build/
#   make help         this text
#
# Variants: make config=debug|release|sanitize|threads|scalar|single|coverage|fuzz|wasm  CC=gcc|clang  openmp=1|0  V=1  build=FOLDER
# CC, AR, CPPFLAGS, CFLAGS, LDFLAGS and LDLIBS are honoured. make -f TREE/Makefile builds in the folder where it is called.

# As many jobs as cores, unless the command line says otherwise; a make inside this one takes its jobs from this one.
ifeq ($(MAKELEVEL),0)
cores := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
jobs := $(if $(filter -j%,$(MAKEFLAGS)),,-j$(cores))
endif
MAKEFLAGS += --no-builtin-rules $(jobs)

# make -f TREE/Makefile: works in TREE, and builds in build/ of the folder where make was called.
tree := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))
ifneq ($(tree),.)
.PHONY: in-tree $(MAKECMDGOALS)
$(or $(firstword $(MAKECMDGOALS)),all): in-tree
$(wordlist 2,99,$(MAKECMDGOALS)): in-tree ;
in-tree:
	@+$(MAKE) -C '$(tree)' --no-print-directory out='$(CURDIR)/' $(if $(build),build='$(abspath $(build))') $(MAKECMDGOALS)
else

config ?= release
ifeq ($(origin CC),default)
CC := $(if $(shell command -v gcc 2>/dev/null),gcc,cc)
endif
ifeq ($(shell command -v $(firstword $(CC)) 2>/dev/null),)
$(error there is no compiler '$(CC)'; set CC)
endif

machine := $(shell $(CC) -dumpmachine 2>/dev/null)

# OpenMP is used when the compiler compiles and links with it. openmp=1 demands it, openmp=0 does without.
accepts = $(shell echo 'int main(void) { return 0; }' | $(CC) $1 -x c - -o /dev/null >/dev/null 2>&1 && echo yes)
ifneq ($(openmp),0)
has_openmp := $(call accepts,-fopenmp)
ifeq ($(openmp)$(has_openmp),1)
$(error openmp=1: $(CC) can not compile and link with -fopenmp)
endif
override openmp := $(or $(has_openmp:yes=1),0)
ifeq ($(openmp),0)
$(info $(CC) can not compile and link with -fopenmp: building without OpenMP, for one thread)
endif
endif
export openmp # to a make inside this one, which then has nothing to say

# MPI's wrapper compiles what needs MPI, with CC.
MPICC ?= mpicc
ifeq ($(mpi),1)
ifeq ($(shell command -v $(MPICC) 2>/dev/null),)
$(error mpi=1: there is no $(MPICC); install Open MPI or MPICH, or set MPICC)
endif
mpi_compiler := OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC)
endif

space := $() $()
build ?= $(out)build/$(config)-$(subst $(space),-,$(notdir $(CC)))$(if $(filter 0,$(openmp)),-serial)$(if \
    $(mpi_compiler),-$(notdir $(MPICC)))
ifneq ($(words $(build)),1)
$(error build='$(build)' must be one path without spaces)
endif
objects := $(build)/objects

warnings := -Wall -Wextra -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes -Wmissing-prototypes \
            -Wundef -Wno-missing-field-initializers $(if $(werror),-Werror)
# Fused multiply-adds: gcc -std=c99 emits none unless told to.
contract := fast
arithmetic = -ffp-contract=$(contract) -fno-math-errno -fno-trapping-math

# The user's CPPFLAGS, CFLAGS, LDFLAGS and LDLIBS follow the project's flags.
CFLAGS ?= -g
flags = -std=c99 -pedantic $(warnings) $(arithmetic) -I.
optimize := -O3
kernel_optimize := -O3
ldflags :=
compile = $(CC) $(flags) $1 $(CPPFLAGS) $(CFLAGS) -MMD -MP -c
link = $(CC) $(ldflags) $(CFLAGS) $(LDFLAGS)

ifeq ($(config),debug)
optimize := -O0
kernel_optimize := -O1
else ifeq ($(config),sanitize)
optimize := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
kernel_optimize := $(optimize)
ldflags += -fsanitize=address,undefined
# The sanitizers' checks part some multiplications from their additions and not others: fuse none.
contract := off
else ifeq ($(config),threads)
optimize := -O1 -fsanitize=thread
kernel_optimize := $(optimize)
ldflags += -fsanitize=thread
else ifeq ($(config),coverage)
optimize := -O0 --coverage
kernel_optimize := $(optimize)
ldflags += --coverage
else ifeq ($(config),fuzz)
optimize := -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
kernel_optimize := $(optimize)
ldflags += -fsanitize=address,undefined
else ifeq ($(config),wasm)
optimize := -O2
flags += --target=wasm32-wasi -msimd128 -Wno-enum-float-conversion
ldflags += --target=wasm32-wasi -Wl,-z,stack-size=1048576
AR := $(shell $(CC) -print-prog-name=llvm-ar)
else ifneq ($(filter-out release scalar single,$(config)),)
$(error config=$(config) is not one of debug release sanitize threads scalar single coverage fuzz wasm)
endif

# Without OpenMP the simd pragmas stay: they need no runtime.
ifeq ($(openmp),1)
flags += -fopenmp
ldflags += -fopenmp
else
simd_flag := $(if $(call accepts,-fopenmp-simd),-fopenmp-simd,-Wno-unknown-pragmas)
flags += $(simd_flag)
endif

# One set of objects serves the static and the shared library. Functions of the library are never replaced from outside,
# so that the compiler may inline them all the same.
pic := -fPIC -fno-semantic-interposition
flags += $(if $(filter wasm,$(config)),,$(if $(call accepts,-Werror $(pic)),$(pic),$(if $(call accepts,-Werror -fPIC),-fPIC)))

# One short line per file; V=1 shows the commands.
hide := $(if $(V),,@)
say := @$(if $(V),:,echo)

# ---- the library ----
core_folders := tensor tensor/kernels autograd nn
annex_folders := tensor/files tensor/threads autograd/watch autograd/recompute autograd/gradcheck \
                 nn/positions nn/models nn/parallel nn/gradcheck
folders := $(core_folders) $(annex_folders)
library_sources := $(filter-out tensor/kernels/kernels.c,$(wildcard $(folders:%=%/*.c)))
library_objects := $(library_sources:%.c=$(objects)/%.o)
library := $(build)/libattngrad.a

# kernels.c once per instruction set. config=scalar keeps only the builds that every machine runs; fuzz needs no others.
isas := baseline reference
isa_flags_baseline := -DAG_ISA_NAME='"baseline"'
isa_flags_reference := -DAG_ISA_NAME='"reference"' -DAG_REFERENCE
ifeq ($(filter scalar single fuzz wasm,$(config)),)
ifneq ($(filter x86_64-%,$(machine)),)
isas += v3 v4
isa_flags_v3 := -DAG_ISA_NAME='"x86-64-v3"' -march=x86-64-v3
isa_flags_v4 := -DAG_ISA_NAME='"x86-64-v4"' -march=x86-64-v4 -mprefer-vector-width=512
flags += -DAG_HAVE_X86_64_LEVELS
endif
endif
kernel_objects := $(isas:%=$(objects)/tensor/kernels/kernels_%.o)

.PHONY: all
all: $(library) examples # by `make` alone, as the first rule

# config=single: the library of the two files that `make release` writes.
two_files := $(build)/two-files
ifeq ($(config),single)
library_objects := $(objects)/attngrad.o
$(library): $(library_objects)
$(library_objects): $(two_files)/attngrad.c
	@mkdir -p $(@D)
	$(say) "  CC    $<"
	$(hide)$(call compile,$(optimize)) $< -o $@
$(two_files)/attngrad.c: tools/release.py $(library_sources) $(wildcard $(folders:%=%/*.[hid]*)) attngrad.h
	python3 $< $(@D)
else
$(library): $(kernel_objects) $(library_objects) # what compiles longest begins first
endif

# The core alone, for `make core`.
core_sources := $(filter-out tensor/kernels/kernels.c,$(wildcard $(core_folders:%=%/*.c)))
core_library := $(build)/libattngrad-core.a

$(core_library): $(core_sources:%.c=$(objects)/%.o) $(kernel_objects)
$(library) $(core_library):
	$(say) "  AR    $@"
	@rm -f $@
	$(hide)$(AR) rcs $@ $^

$(objects)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC    $<"
	$(hide)$(call compile,$(optimize)) $< -o $@

$(kernel_objects): $(objects)/tensor/kernels/kernels_%.o: tensor/kernels/kernels.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC    $<, for $*"
	$(hide)$(call compile,$(kernel_optimize)) $(isa_flags_$*) -DAG_ISA=$* $< -o $@

# ---- example programs: examples/<name>.c or examples/<name>/*.c, and an archive of what they share ----
programs := lm generate encode finetune head_attention multi_head_attention attention_gradients gradcheck linear_regression \
            translate forecast classify check_kernel explorer exercises \
            $(patsubst examples/%.c,%,$(wildcard examples/course/*.c))
example_shared := $(wildcard examples/shared/*.c)
example_library := $(build)/examples/libexamples.a
example_binaries := $(programs:%=$(build)/examples/%)

.PHONY: examples
examples: $(example_binaries)

$(example_library): $(example_shared:%.c=$(objects)/%.o)
	@mkdir -p $(@D)
	$(say) "  AR    $@"
	@rm -f $@
	$(hide)$(AR) rcs $@ $^

# lm is for one process, or with mpi=1 for several.
lm_processes := examples/lm/$(if $(mpi_compiler),mpi/lm_mpi.c,lm_processes.c)
example_objects = $(patsubst %.c,$(objects)/%.o,$(filter-out examples/lm/lm_processes.c,$(wildcard \
    examples/$1.c examples/$1/*.c)) $(if $(filter lm,$1),$(lm_processes)))
define link_example
$(build)/examples/$1: $(call example_objects,$1) $(example_library) $(library)
	@mkdir -p $$(@D)
	$$(say) "  LINK  $$@"
	$$(hide)$$(link) $$^ $$(LDLIBS) -lm -o $$@
endef
$(foreach program,$(programs),$(eval $(call link_example,$(program))))

ifdef mpi_compiler
$(objects)/examples/lm/mpi/lm_mpi.o: flags += -D_POSIX_C_SOURCE=200809L
$(objects)/examples/lm/mpi/lm_mpi.o $(build)/examples/lm: private override CC := $(mpi_compiler)
endif

# The judge of the exercises, with the stubs in place of a student's functions.
exercise_stubs := $(patsubst %.c,$(objects)/%.o,$(wildcard examples/exercises/stubs/*.c))
exercise_judge := $(filter-out %/main.o,$(call example_objects,exercises))
$(exercise_stubs): flags += -Wno-unused -Wno-unused-parameter
$(build)/examples/exercises: $(exercise_stubs)

.PHONY: exercise
exercise: $(build)/examples/exercises
	@compile='$(CC) -std=c99 -g -O1 -Wall -Wextra -Wno-unused -Wno-unused-parameter -I. $(CPPFLAGS) -c' \
	    link='$(link)' explain='$(explain)' sh examples/exercises/try.sh '$(N)' '$(or $(folder),$(out)exercises)' \
	    $(build) $(call example_objects,exercises) $(example_library) $(library) $(LDLIBS) -lm

.PHONY: train
train: $(library) $(build)/examples/lm
	$(build)/examples/lm train

# ---- the shared library, and installation ----
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
version := $(subst $(space),.,$(shell sed -n 's/^.define AG_VERSION_[A-Z]* //p' tensor/tensor.h))
# Versions 0.x promise nothing to each other: the minor number stays in the shared library's name.
soversion := $(if $(filter 0.%,$(version)),$(basename $(version)),$(firstword $(subst ., ,$(version))))
shared_library := $(build)/libattngrad.so.$(version)
public_headers = $(filter %.h,$(shell $(CC) -I. -MM attngrad.h))
installed_programs := lm generate encode finetune gradcheck

.PHONY: shared
shared: $(shared_library)
$(shared_library): $(library_objects) $(kernel_objects) tools/package.sh
	$(say) "  LINK  $@"
	@sh tools/package.sh exports $(public_headers) >$@.map
	$(hide)$(link) -shared -Wl,-soname,libattngrad.so.$(soversion) -Wl,--version-script=$@.map -Wl,-z,defs \
	    $(filter %.o,$^) $(LDLIBS) -lm -o $@

# The library in two files, and the sources as they are in the last commit.
dist := $(out)build/dist
.PHONY: release
release:
	@mkdir -p $(dist)
	python3 tools/release.py $(dist)
	git archive --prefix=attngrad-$(version)/ HEAD | gzip -n >$(dist)/attngrad-$(version).tar.gz
	cd $(dist) && sha256sum attngrad.c attngrad.h attngrad-$(version).tar.gz >SHA256SUMS && cat SHA256SUMS

.PHONY: deb
deb: release
	sh tools/debian.sh $(dist) $(version)

# The two files as a user compiles them, by each compiler that is here; then the suites with them.
.PHONY: check-release
check-release: release $(library)
	CC="$(CC)" sh tests/check_release.sh $(dist) $(library)
	$(MAKE) config=single build/single-$(notdir $(CC))/tests/check
	build/single-$(notdir $(CC))/tests/check

.PHONY: check-compilers
check-compilers: release $(library)
	sh tests/check_release.sh $(dist) $(library) all

.PHONY: install uninstall
install: $(library) $(shared_library) $(installed_programs:%=$(build)/examples/%)
install uninstall:
	@prefix='$(PREFIX)' libdir='$(LIBDIR)' destdir='$(DESTDIR)' build='$(build)' version='$(version)' \
	    soversion='$(soversion)' headers='$(public_headers)' programs='$(installed_programs)' \
	    private_libs='-lm$(if $(filter 1,$(openmp)), -fopenmp)' sh tools/package.sh $@

# ---- tests ----
test_folders := tests $(folders:%=tests/%) tests/examples tests/exercises tests/zoo
test_sources := $(filter-out tests/core.c tests/logits.c tests/soak.c,$(wildcard $(test_folders:%=%/*.c)))
# Where Check is not built for the machine (check=standin, and WebAssembly), tests/standin stands for it.
check := $(if $(filter wasm,$(config)),standin,installed)
test_sources += $(if $(filter standin,$(check)),tests/standin/check.c)
# WebAssembly has no processes: suites about these, signals, threads, devices, folders or sizes of more than 32 bits are
# left out.
ifeq ($(config),wasm)
wasm_without := $(addprefix tests/,check_misuse.c check_out_of_memory.c $(addprefix tensor/check_,ctx.c team.c \
    memory.c shape.c tensor.c view.c) $(addprefix tensor/files/check_,number.c print.c replace.c safetensors%.c) \
    tensor/kernels/check_attention_masks.c autograd/check_mask.c nn/models/check_interruption.c \
    nn/models/check_pretrained_files.c)
wasm_without += tests/zoo/% tests/exercises/% $(filter-out %/check_explorer.c,$(wildcard tests/examples/*.c))
test_sources := $(filter-out $(wasm_without),$(test_sources))
endif
# Windows has no fork; its C library has no streams into memory, opens no folder, and few files at a time.
ifneq ($(findstring windows,$(machine)),)
windows_without := team attention_masks replace safetensors safetensors_index random_graphs interruption \
    pretrained_files pages quota tokenizer
test_sources := $(filter-out $(foreach suite,$(windows_without),%/check_$(suite).c),$(test_sources))
endif
# The suites of these sources.
suites_def := tests/suites.def
ifeq ($(check),standin)
suites_def := $(build)/suites.def
$(suites_def): tests/suites.def Makefile
	@mkdir -p $(@D)
	$(hide)grep -xF $(patsubst check_%.c,-e 'SUITE(%)',$(filter check_%,$(notdir $(test_sources)))) $< >$@
endif
test_objects := $(test_sources:%.c=$(objects)/%.o)
$(test_objects): | $(suites_def)
test_program := $(build)/tests/check
# Check's own macros are older than -pedantic C99 likes. What it takes to use Check is in check_flags.
check_flags := $(build)/check.flags
test_flags := -D_POSIX_C_SOURCE=200809L -Wno-variadic-macros -Wno-double-promotion -Wno-conversion \
              -DAG_FIXTURES='"tests/fixtures"' -DTESTS_SUITES='"$(suites_def)"' $(if $(filter wasm,$(config)),-w) $$(grep -o -e '-I[^ ]*' $(check_flags))

$(test_objects): flags += $(test_flags)
ifeq ($(check),standin)
$(test_objects): optimize := -O0 # gcc 12's vectorizer for aarch64 fails on a test
endif
$(test_objects): | check-installed

.PHONY: check-installed
check-installed:
	@mkdir -p $(build)
ifeq ($(config),wasm)
	@echo '-Itests/standin -lwasi-emulated-process-clocks' >$(check_flags)
else ifeq ($(check),standin)
	@echo '-Itests/standin' >$(check_flags)
else
	@CC="$(CC)" sh tools/install.sh check $(check_flags)
endif

explorer_objects := $(addprefix $(objects)/examples/explorer/,model.o terms.o)
$(test_program): $(test_objects) $(explorer_objects) \
    $(if $(filter wasm,$(config)),,$(exercise_judge) $(example_library)) $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ $$(cat $(check_flags)) $(LDLIBS) -lm -o $@

# Each script is a target, so that `make -j2` runs two at a time; the suites come last, and Check's summary with them.
script_checks := docs examples course exercises lm lm_runs lm_kinds lm_texts lm_options lm_plans lm_minutes lm_model package \
                 crash uses generate finetune locale output python mutants
.PHONY: test check-scripts $(script_checks:%=check-script-%)
$(script_checks:%=check-script-%): $(test_program) $(example_binaries)
check-script-finetune: $(build)/tests/logits
check-script-docs:
	CC="$(CC)" sh tests/check_docs.sh $(library) $(ldflags) $(LDFLAGS)
$(addprefix check-script-,examples course package uses generate finetune output): check-script-%:
	sh tests/examples/check_$*.sh $(build)/examples
$(addprefix check-script-,lm lm_runs lm_kinds lm_texts lm_options lm_plans lm_minutes lm_model crash): check-script-%:
	sh tests/examples/check_$*.sh $(build)/examples/lm
check-script-locale:
	CC="$(CC)" sh tests/check_locale.sh $(build)
check-script-exercises:
	CC="$(CC)" sh tests/examples/check_exercises.sh $(build)/examples
check-script-python:
	CC="$(CC)" sh tests/examples/check_python.sh
check-script-mutants:
	sh tests/mutants.sh --check
check-scripts: $(script_checks:%=check-script-%)
test: check-scripts
	$(test_program)

# Tokenizers against the package of that name, where python3 or PYTHON has it.
.PHONY: check-tokenizers
check-tokenizers: $(test_program)
	sh tests/examples/check_tokenizers.sh $< "$(or $(PYTHON),python3)" $(or $(count),2000) $(files)

# By each MPI that is installed; Debian has several side by side.
mpi_wrappers = $(or $(foreach name,mpicc.openmpi mpicc.mpich,$(if $(shell command -v $(name)),$(name))),\
                    $(if $(shell command -v mpicc),mpicc))
.PHONY: check-mpi
check-mpi: $(build)/examples/lm
	@$(if $(strip $(mpi_wrappers)),,echo 'skip  mpi: there is no mpicc')
	+@for wrapper in $(mpi_wrappers); do \
	    $(MAKE) --no-print-directory mpi=1 MPICC=$$wrapper build=$(build)-$$wrapper $(build)-$$wrapper/examples/lm && \
	    sh tests/examples/check_mpi.sh $< $(build)-$$wrapper/examples/lm mpirun$${wrapper#mpicc} || exit 1; \
	done

# ---- WebAssembly ----
wasm_build := $(out)build/wasm
wasm_clang = $(shell sh tools/wasm_clang.sh)
wasm_make = $(MAKE) config=wasm CC=$(wasm_clang) openmp=0 build=$(wasm_build)
wasm_missing = @echo skipped: clang for wasm32-wasi or Node is missing
wasm_tools = $(and $(wasm_clang),$(shell command -v node))

.PHONY: wasm explorer check-explorer run-wasm-suites
wasm:
	+$(if $(wasm_tools),$(wasm_make) run-wasm-suites,$(wasm_missing))

# Check's summary decides: Node 20 sometimes crashes while it ends.
run-wasm-suites: $(test_program)
	-node --no-warnings tests/wasm/run.mjs $< >$(build)/suites.log $$(sed -n 's/^SUITE(\(.*\))/\1/p' tests/suites.def | grep -xF \
	    $(addprefix -e ,$(filter $(patsubst check_%.c,%,$(notdir $(test_sources))),$(core_suites) attention_trace explorer)))
	cat $(build)/suites.log
	grep -q '^100%: Checks: [1-9][0-9]*, Failures: 0, Errors: 0$$' $(build)/suites.log

explorer:
	+$(if $(wasm_clang),$(wasm_make) $(wasm_build)/explorer.html,$(wasm_missing))

check-explorer: $(build)/examples/explorer $(build)/examples/attention_gradients
	+$(if $(wasm_tools),$(wasm_make) $(wasm_build)/explorer.html && \
	    sh tests/examples/check_explorer.sh $(wasm_build)/explorer.html $(<D),$(wasm_missing))

# The page has every function of explorer.h, and of the library what these need.
ifeq ($(config),wasm)
$(build)/explorer.wasm: $(explorer_objects) $(library)
	$(say) "  LINK  $@"
	$(hide)$(link) -mexec-model=reactor -Wl,--gc-sections,--strip-all,--export=malloc,--export=free \
	    $$(sed -n 's/.*\(explorer_[a-z]*\)(.*/-Wl,--export=\1/p' examples/explorer/explorer.h) $^ -lm -o $@

$(build)/explorer.html: examples/explorer/join.sh $(build)/explorer.wasm $(wildcard examples/explorer/page/*)
	sh $< $(build)/explorer.wasm >$@.new
	mv $@.new $@
endif

# The checker on N random functions with right gradients and N with planted faults; N = 100000 takes half an hour.
cases ?= 10000
.PHONY: gradcheck-proof
gradcheck-proof: $(test_program)
	AG_GRADCHECK_PROOF='$(cases)' $(test_program) gradcheck_proof

# Right: the cause and the words to look for; vague: the place alone; misleading: another cause; missed: a pass.
.PHONY: gradcheck-kinds
gradcheck-kinds: $(test_program)
	AG_GRADCHECK_KINDS=1 $(test_program) kinds | awk '/^kind: / { print; of["in double", $$(NF - 1)]++; \
	    of["in float", $$NF]++ } END { for (t = 0; t < 2; t++) { in_type = t == 0 ? "in double" : "in float"; \
	    printf "%s: %d right, %d vague, %d misleading, %d missed\n", in_type, of[in_type, "right"], \
	    of[in_type, "vague"], of[in_type, "misleading"], of[in_type, "missed"] } }'

# Training runs that are killed, stopped and run out of disk at random moments; the last needs root, for a tmpfs.
.PHONY: crash-proof
crash-proof: $(build)/examples/lm
	sh tests/examples/check_crash.sh $< 50 20 10 $(or $(seed),1)

# Faults planted one at a time in a copy; the tests must catch each. docs/mutants.md is the table.
.PHONY: mutants
mutants: | check-installed
	CC="$(CC)" sh tests/mutants.sh $(build) only='$(only)'

# The core without its annexes: a head must learn with it.
core_program := $(build)/tests/core
$(core_program): $(objects)/tests/core.o $(core_library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ $(LDLIBS) -lm -o $@

.PHONY: core
core: $(core_program)
	$(core_program)
	@sh tools/core_lines.sh

# One compiler, the suites of the core, layout and walls: for every edit.
slow_suites := accuracy random_graphs training
core_suites := $(filter-out $(slow_suites),$(patsubst check_%.c,%,$(notdir $(wildcard $(core_folders:%=tests/%/check_*.c)))))
.PHONY: check-quick
check-quick: $(test_program) check-layers check-format
	sh tools/check_style.sh
	CC="$(CC)" sh tests/examples/check_python.sh
	sh tests/mutants.sh --check
	$(test_program) $$(sed -n 's/^SUITE(\(.*\))/\1/p' tests/suites.def | grep -xF $(core_suites:%=-e %))

# By qemu the core's suites, the slow ones left out, and those about files.
platform_suites := $(filter-out gemm attention_kernel attention_masks vecmath,$(core_suites)) number print safetensors \
    safetensors_hostile checkpoint pretrained gpt gradcheck_arrays mistakes
.PHONY: platforms
platforms:
	sh tests/platforms.sh '$(shell sed -n 's/^SUITE(\(.*\))/\1/p' tests/suites.def | \
	    grep -xF $(addprefix -e ,$(platform_suites)))' $(only)

# Formats the lines that differ from the last commit: files='a.c b.h' only these.
.PHONY: format
format:
	@sh tools/check_format.sh --fix $(files)

.PHONY: check-format
check-format:
	sh tools/check_format.sh $(files)

.PHONY: check-layers
check-layers: $(library) $(example_binaries)
	sh tests/check_layers.sh $(objects)

# libarcher.so tells the sanitizer what OpenMP's locks and barriers order. The test that forks is left out.
.PHONY: check-threads
check-threads:
	$(MAKE) config=threads CC=clang build/threads-clang/tests/check
	OMP_TOOL_LIBRARIES="$$(clang -print-resource-dir)/../../libarcher.so" CK_FORK=no HAND_OVERS=100000 \
	    TSAN_OPTIONS='ignore_noninstrumented_modules=1 halt_on_error=1' \
	    build/threads-clang/tests/check team_pauses gemm attention_kernel rows

# Every target of tests/fuzz for `seconds` each, with clang's fuzzer; only=NAME: one. Inputs that fail, and those that
# were found on the way, stay in build/fuzz-corpus.
fuzz_targets := $(or $(only),$(filter-out fuzz,$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/*_*.c))))
fuzz_build := build/fuzz-clang
fuzzers := $(fuzz_targets:%=$(fuzz_build)/tests/fuzz_%)
fuzz_shared := $(filter-out examples/lm/lm.c,$(wildcard examples/lm/*.c))
$(objects)/tests/fuzz/%.o: flags += -D_POSIX_C_SOURCE=200809L

.PHONY: fuzz
fuzz: $(build)/examples/lm
	$(MAKE) config=fuzz CC=clang only='$(only)' $(fuzzers)
	sh tests/fuzz/seeds.sh build/fuzz-corpus $<
	@for target in $(fuzz_targets); do \
	    echo "fuzz: $$target"; \
	    $(fuzz_build)/tests/fuzz_$$target -max_total_time=$(or $(seconds),60) -timeout=60 -max_len=32768 -close_fd_mask=3 \
	        -print_final_stats=1 -artifact_prefix=build/fuzz-corpus/$$target- build/fuzz-corpus/$$target \
	        >build/fuzz-corpus/$$target.log 2>&1 || { tail -n 40 build/fuzz-corpus/$$target.log; exit 1; }; \
	    grep '^stat::\(number\|average\|largest\|slowest\)' build/fuzz-corpus/$$target.log; \
	    rm -f build/fuzz.[0-9]*; \
	done

$(fuzzers): $(fuzz_build)/tests/fuzz_%: $(fuzz_build)/objects/tests/fuzz/fuzz_%.o \
    $(fuzz_build)/objects/tests/fuzz/fuzz.o $(fuzz_shared:%.c=$(fuzz_build)/objects/%.o) $(example_library) $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) -fsanitize=fuzzer $^ $(LDLIBS) -lm -o $@

# Programs of one file: memory and bits over a million steps (steps=N generations=N); logits for the Python scripts.
$(build)/tests/soak $(build)/tests/logits: $(build)/tests/%: $(objects)/tests/%.o $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ $(LDLIBS) -lm -o $@

.PHONY: soak
soak: $(build)/tests/soak
	$< $(or $(steps),1000000) $(or $(generations),100000)

# Random cases against PyTorch: minutes=N, seed=S repeats a run, only=KIND (see tests/differential/differential.py). Then
# every key of the transformers package's configurations, and its sampling.
differential_program := $(build)/tests/differential
$(objects)/tests/differential/%.o: flags += -Wno-conversion -Wno-double-promotion
$(differential_program): $(objects)/tests/differential/differential.o $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ $(LDLIBS) -lm -o $@

.PHONY: differential
differential: $(differential_program) $(if $(only)$(seed),,$(test_program) $(build)/tests/logits)
	python3 tests/differential/differential.py $< minutes=$(or $(minutes),2) seed=$(seed) only=$(only)
ifeq ($(only)$(seed),)
	python3 tests/nn/models/compare_configurations.py $(build)/tests/logits
	@if ! python3 -c 'import torch, transformers' 2>/dev/null; then echo 'skip  sampling: no transformers package'; \
	elif python3 tests/fixtures/make_sampling_fixtures.py 10000 $(build)/rows.safetensors; then \
	    AG_SAMPLING_ROWS=$(build)/rows.safetensors $(test_program) sampling; \
	else exit 1; fi
endif

# ---- benchmarks ----
bench_names := $(patsubst bench/%.c,%,$(wildcard bench/bench_*.c))
bench_binaries := $(bench_names:%=$(build)/bench/%)

$(bench_binaries): $(build)/bench/%: $(objects)/bench/%.o $(example_library) $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ $(bench_libraries) $(LDLIBS) -lm -o $@

$(objects)/bench/%.o: flags += -D_POSIX_C_SOURCE=200809L

# The machine's limits, once per instruction set.
limit_objects := $(patsubst %,$(objects)/bench/limits_%.o,$(filter-out reference,$(isas)))
$(limit_objects): $(objects)/bench/limits_%.o: bench/limits.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC    $<, for $*"
	$(hide)$(call compile,$(optimize)) $(isa_flags_$*) -DAG_ISA=$* $< -o $@

$(build)/bench/bench_machine: $(limit_objects)

# The matrix product has OpenBLAS beside it where that is installed.
hash := \#
has_openblas = $(shell printf '$(hash)include <cblas.h>\nint main(void) { return 0; }\n' | \
                 $(CC) -x c - -lopenblas -o /dev/null 2>/dev/null && echo yes)
$(objects)/bench/bench_gemm.o: flags += $(if $(has_openblas),-DAG_HAVE_CBLAS)
$(build)/bench/bench_gemm: bench_libraries = $(if $(has_openblas),-lopenblas)

.PHONY: bench
bench: $(bench_binaries) $(if $(run_c),$(build)/bench/peer_llama2) $(if $(findstring wasm,$(parts)),bench-wasm)
	@sh bench/run.sh $(build)/bench --parts '$(parts)' --rounds $(or $(rounds),5) --flags '$(flags) $(optimize) $(CPPFLAGS) $(CFLAGS)' \
	    --compiler '$(shell $(CC) --version | head -n 1)'

# llama2.c's run.c, where the user has it, as its own manual compiles it for the best speed.
$(build)/bench/peer_llama2: bench/peer_llama2.c bench/measure.h $(run_c)
	@mkdir -p $(@D)
	$(say) "  CC    $<"
	$(hide)$(CC) -O3 -march=native -ffast-math -I. -DRUN_C='"$(abspath $(run_c))"' $< -lm -o $@

.PHONY: bench-wasm
bench-wasm:
	+$(if $(wasm_tools),$(wasm_make) $(wasm_build)/bench.wasm && mkdir -p $(build)/bench && \
	    cp $(wasm_build)/bench.wasm $(build)/bench/wasm.wasm,$(wasm_missing))

ifeq ($(config),wasm)
$(build)/bench.wasm: $(objects)/bench/wasm.o $(objects)/bench/limits_baseline.o $(library)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ -lm -o $@
endif

.PHONY: bench-growth
bench-growth:
	@$(MAKE) --no-print-directory bench parts=growth

# What README.md and docs/performance.md show: the tables of the last `make bench`, and its pictures.
.PHONY: bench-docs
bench-docs:
	python3 bench/report.py $(build)/bench/results.json README.md docs/performance.md

# What a message and a byte cost between the processes of `mpirun -n N`: mpi=1 np=N mpirun='mpirun OPTIONS'.
ifdef mpi_compiler
$(build)/bench/link: private override CC := $(mpi_compiler)
$(objects)/bench/mpi/link.o: flags += -D_POSIX_C_SOURCE=200809L
$(build)/bench/link: $(objects)/bench/mpi/link.o $(objects)/examples/lm/mpi/lm_mpi.o $(example_library) $(library)
	@mkdir -p $(@D)
	$(say) "  LINK  $@"
	$(hide)$(link) $^ $(LDLIBS) -lm -o $@
endif

.PHONY: bench-mpi
bench-mpi: $(if $(mpi_compiler),$(build)/bench/link)
	$(or $(if $(mpi_compiler),,$(error bench-mpi: say mpi=1)),$(mpirun),$(patsubst mpicc%,mpirun%,$(MPICC))) -n $(or $(np),2) $<

.PHONY: bench-attention
bench-attention: $(build)/bench/bench_attention
	python3 bench/attention.py $(build)/bench

# OpenBLAS told to use AVX-512 where this machine has it: it does not know every machine.
.PHONY: bench-gemm
bench-gemm: $(build)/bench/bench_gemm
	for threads in 1 2; do OPENBLAS_CORETYPE=$(if $(shell grep -m1 -o avx512f /proc/cpuinfo 2>/dev/null),SKYLAKEX,HASWELL) \
	    OPENBLAS_NUM_THREADS=$$threads $< --threads $$threads; done

.PHONY: profile
profile: $(build)/bench/bench_step
	$< --profile --model $(or $(model),tiny)

.PHONY: clean
clean:
	rm -rf $(out)build

.PHONY: help
help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

-include $(wildcard $(objects)/*/*.d $(objects)/*/*/*.d $(objects)/*/*/*/*.d)

endif
