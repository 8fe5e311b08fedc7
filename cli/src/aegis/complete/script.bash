# Completion of PROGRAM for bash 4.4 or later; `aegis` says what there is.
FUNCTION() {
    local -a words=() begins=() answer=()
    local i word glued=
    # Bash takes --option=value apart.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)) && [[ $word != [=:]* ]]; then
            word=$2
        fi
        if [[ $glued || ($i -gt 0 && $word == [=:]*) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
            begins+=("$i")
        fi
        [[ $word == [=:]* ]] && glued=yes || glued=
    done
    mapfile -t answer < <(aegis __complete PROGRAM "${words[@]:1}" 2>/dev/null)
    local before=${words[-1]%"$2"} line
    COMPREPLY=()
    for line in "${answer[@]:1}"; do
        line=${line%%$'\t'*}
        [[ $line == "$before"* ]] || continue
        line=${line#"$before"}
        # Among files, bash itself quotes.
        [[ ${answer[0]} == nothing ]] && printf -v line %q "$line"
        COMPREPLY+=("$line")
    done
    case ${answer[0]-} in
    '' | files | directories | command*)
        compopt -o filenames 2>/dev/null
        ;;
    esac
    case ${answer[0]-} in
    '' | files) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2") ;;
    directories) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$2") ;;
    command*)
        local first=${begins[${answer[0]#command }]}
        if declare -F _command_offset >/dev/null; then
            _command_offset "$first"
        elif ((COMP_CWORD == first)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$2")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$2")
        fi
        ;;
    esac
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o nosort -F FUNCTION PROGRAM
