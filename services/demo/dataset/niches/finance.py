"""Personal finance: an explainer of everyday money, a budgeting app, a tax and bookkeeping office."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Plain Pennies|Money with Marit|The Quiet Budget|Slow Cash|Spreadsheet Sunday|Ravi Explains Rent"),
    taglines=lines("""
        Everyday money, explained without hype.
        Budgets for people who hate budgets.
        No hot tips. Just habits that work.
    """),
    tags=words("#budgeting|#moneytips|#personalfinance|#savings|#debtfree"),
    groups=(
        Group(
            ref="budget method",
            names=(
                words("50-30-20|no-spend|envelope|zero-based|couple's|single-income"),
                words("budget|month|challenge|payday routine"),
            ),
            aspects=words("spreadsheet|real numbers part|template|explanation|example|grocery category"),
            titles=lines("""
                {name}: how I start from scratch
                My {name}, with real numbers
                I tried the {name} for 90 days
                {name} mistakes that cost me
                {name} on a small salary
                Is the {name} realistic in 2 adults, 2 kids mode?
            """),
        ),
        Group(
            ref="savings plan",
            names=(
                words("emergency|sinking|holiday|first home|new baby"),
                words("fund plan|savings ladder|savings tracker|fund walkthrough"),
            ),
            aspects=words("interest example|timeline|chart|worst case scenario|calculator|automation tip"),
            titles=lines("""
                {name}: how much is enough?
                Build a {name} with 20 a week
                {name} explained to my little brother
                What I'd change about my {name}
                {name} update, month six
            """),
        ),
        Group(
            ref="explainer",
            names=(
                words("index fund|pension|mortgage|credit score|payslip|inflation"),
                words("basics video|explainer|myth check|Q&A"),
            ),
            aspects=words("whiteboard part|fee comparison|example|tone|summary|source list|disclaimer"),
            titles=lines("""
                {name} in plain language
                {name}: what school didn't tell us
                {name} for absolute beginners
                5 questions from you: {name}
                {name}, no jargon, no selling
            """),
        ),
    ),
    praise=lines("""
        Paid off my last card because of the {name}. Shaking.
        The {name} made it click for me after years.
        You explain a {ref} without making me feel poor.
        Started the {name} {span} ago and I finally sleep at night.
        No course, no hype, just a useful {ref}.
        My partner and I did the {name} together and didn't argue once.
        The {name} should be taught in school.
        {who_cap} is 19 and actually watched the whole {ref}.
        First {ref} with numbers from real life.
        The {name} saved me more than my last pay rise.
        Your {name} is printed and on our fridge.
    """),
    gripe=lines("""
        The {name} only works if you already earn well.
        You forgot rent in the {name}. Must be nice.
        The numbers in the {name} don't add up at the end.
        Too simple, the {name} leaves out taxes completely.
        Tried the {name} for {span}, gave up, way too strict.
        The template for the {name} is broken on my phone.
        An ad for a loan app before a {ref}? Really?
        The {name} ignores anyone with irregular income.
    """),
    ask=lines("""
        How would the {name} work with irregular income?
        Where can I find the template for the {name}?
        Should I do the {name} before paying off debt?
        Does the {name} also make sense for students?
        How do you handle gifts in the {name}?
        Do you count the pension in the {name}?
        What's a realistic amount for groceries in this {ref}?
        Could you redo the {name} for a family of five?
    """),
    note=lines("""
        My {ref} is called closing my eyes at the till.
        Coffee isn't a category, it's a human right.
        We do the {name} on paper, old school.
        I'm reading the comments instead of doing the {name}.
        In my country the {name} would look a bit different.
        {who_cap} keeps cash in a biscuit tin, also a system.
    """),
)

BRAND = World(
    names=words("Tallybird|Pockets App|Ledgerleaf|Penny Harbor|Sumfolk"),
    taglines=lines("""
        The budgeting app that doesn't judge.
        See where it goes. Decide where it should.
        Shared money without shared arguments.
    """),
    tags=words("#budgetapp|#moneyhabits|#productupdate|#savings|#fintech"),
    groups=(
        Group(
            ref="feature",
            names=(
                words("shared|weekly|smart|offline|custom"),
                words("budget view|bill reminder|spending report|savings goal|receipt scanner"),
            ),
            aspects=words("design|setup|notification|speed|export|chart|syncing"),
            titles=lines("""
                New: {name}
                {name} is rolling out this week
                How we designed the {name}
                Tips for the {name}
                You asked for it: {name}
                Behind the numbers of the {name}
            """),
            digital=True,
        ),
        Group(
            ref="plan",
            names=(words("family|student|couple|freelancer"), words("plan|annual plan|starter plan|premium plan")),
            aspects=words("price|free trial|dashboard|onboarding|support|bank connection"),
            titles=lines("""
                {name}: what's included
                The {name} just got better
                Who is the {name} for?
                {name} in 60 seconds
                Three months of {name} on us
            """),
            digital=True,
        ),
    ),
    praise=lines("""
        The {name} finally got us to talk about money.
        Saved more in {span} with the {name} than in the whole year before.
        The {name} just works, no manual needed.
        I've tried five apps and this {ref} is the one that stuck.
        Told {who} about the {name} and now we compare charts.
        Love that the {name} doesn't shame me for takeaway.
        The {name} found two subscriptions I'd forgotten.
        Clean, fast, no ads. The {name} is exactly right.
        Cannot imagine payday without the {name}.
    """),
    gripe=lines("""
        The {name} hasn't synced with my bank for {span}.
        Since the update the {name} crashes on start.
        I was charged for the {name} although I cancelled.
        The {name} puts everything in the wrong category.
        The {name} logs me out every single day.
        Price of the {name} doubled without a proper notice.
        Lost {span} of data after switching to the {name}.
        Numbers in the {name} don't match my account.
    """),
    ask=lines("""
        Does the {name} work with more than one bank?
        Is the {name} part of the free version?
        Can I export the data from the {name}?
        When does the {name} come to tablets?
        Is my data in the {name} encrypted?
        Can two people use the {name} on one account?
        How do I turn off the {name}?
        Does the {name} support several currencies?
    """),
    note=lines("""
        The {name} says I spend a lot on cheese. It's not wrong.
        Still doing all this in a spreadsheet.
        Haven't got the {name} yet, probably a slow rollout.
        Testing the {name} during the trial.
        {who_cap} prefers the older {ref}, I don't mind either.
    """),
)

LOCAL = World(
    names=words("Linden Tax & Books|Marlow Bookkeeping|Alder Street Accounting|Clearwater Advisers|Fern & Figures"),
    taglines=lines("""
        Tax returns and bookkeeping for real people.
        Small firm, straight answers, fixed prices.
        Bring the shoebox. We'll sort it.
    """),
    tags=words("#smallbusiness|#taxseason|#bookkeeping|#freelancers|#shoplocal"),
    groups=(
        Group(
            ref="service",
            names=(
                words("annual|freelancer|family|first-year|late"),
                words("tax return|bookkeeping package|payroll setup|start-up check|VAT filing"),
            ),
            aspects=words("price|explanation|response time|checklist|client portal|accuracy|follow-up"),
            titles=lines("""
                {name}: what you need to bring
                {name} deadline in three weeks
                {name} at a fixed price
                Common mistakes in a {name}
                How our {name} works
            """),
        ),
        Group(
            ref="appointment",
            names=(
                words("free|30-minute|evening|online|new client"),
                words("consultation|budget check|mortgage talk|pension review"),
            ),
            aspects=words("advice|preparation|punctuality|parking|patience|clarity|office"),
            titles=lines("""
                Book a {name}
                {name}: new slots in the evening
                Who should come to a {name}?
                {name} without obligation
                What happens in a {name}
            """),
        ),
    ),
    praise=lines("""
        {staff} found deductions I had missed for years.
        The {name} was done in a week and the price was exactly as agreed.
        I finally understand my own numbers after the {name}.
        They answered a hundred small questions about the {name} without a sigh.
        Brought a shoebox of receipts for the {name}, nobody laughed.
        {staff} explained everything in plain language.
        {who_cap} recommended them for the {name} and I'd do the same.
        No pressure to buy anything during the {name}.
        Stress free {ref}, which I never thought I'd write.
    """),
    gripe=lines("""
        My {name} was filed late and I got the fine.
        The {name} cost twice the quote.
        Called four times about the {name}, nobody rang back.
        There was a mistake in the {name} that I had to find myself.
        {staff} had not read my documents before the {name}.
        Waiting for the {name} for {span} with no update.
        Felt like a sales pitch and not like a {ref}.
    """),
    ask=lines("""
        How much does the {name} cost for a couple?
        Which documents do I need for the {name}?
        Can the {name} be done fully online?
        Do you still have room for a {name} this month?
        Do you also help with letters from the tax office?
        Is the {name} suitable for a side job?
        How long does the {name} usually take?
    """),
    note=lines("""
        Thanks for the reminder, I was in denial.
        My receipts are in three different bags. See you on {day}.
        I do my own {name} so far, let's see how long.
        Is it tax season again already.
        Moved to a different town, otherwise I'd ask about the {name}.
    """),
    place="office",
)
